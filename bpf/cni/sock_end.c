// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Ends the sockets of a network namespace that were translated to a backend that is gone, so
 * that nobody waits for an answer. Each runs over all sockets of whoever reads its iterator. */
#include "maps.h"

char _license[] SEC("license") = "GPL";

/* A socket of any kind. The loader wants a definition; nothing in it is read. */
struct sock_common {
	__u16 skc_family;
};

/* What the kernel hands to an iterator's program. */
struct bpf_iter_tcp {
	void *meta;
	struct sock_common *socket;
};

struct bpf_iter_udp {
	void *meta;
	struct sock_common *socket; /* a struct udp_sock, which begins with one */
};

static void *(*const bpf_sk_storage_get)(void *map, void *sk, void *value, __u64 flags) = (void *)107;

/* Since Linux 6.5. */
extern int bpf_sock_destroy(struct sock_common *socket) __attribute__((section(".ksyms")));

static __always_inline void end_translated(struct sock_common *socket, __u8 protocol)
{
	struct socket_origin *origin;
	struct gone_key key = {};

	if (!socket)
		return;
	origin = bpf_sk_storage_get(&fl_sock_origins, socket, 0, 0);
	if (!origin)
		return;
	key.address = origin->backend;
	key.port = origin->backend_port;
	key.protocol = protocol;
	if (bpf_map_lookup_elem(&fl_gone, &key))
		bpf_sock_destroy(socket);
}

SEC("iter/tcp") int end_tcp(struct bpf_iter_tcp *ctx)
{
	end_translated(ctx->socket, IPPROTO_TCP);
	return 0;
}

SEC("iter/udp") int end_udp(struct bpf_iter_udp *ctx)
{
	end_translated(ctx->socket, IPPROTO_UDP);
	return 0;
}
