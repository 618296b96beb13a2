// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Translates a Service's address where a socket is told of it, once for each connection:
 * packets then go straight to the backend, and nothing has to be done to any of them.
 * Processes go on seeing the address that they asked for (getpeername, recvmsg). */
#include "service.h"
#include "sock_addr.h"

char _license[] SEC("license") = "GPL";

/* The cookie of the host's network namespace: what is loopback there is the node's. */
volatile const __u64 cfg_host_netns_cookie;

/* An address and port as a socket has them. */
struct end {
	struct address address;
	__be16 port;
};

static __always_inline int is_end(const struct end *e, const struct address *a, __be16 port)
{
	return e->port == port && same_address(&e->address, a);
}

static __always_inline void end4(const struct bpf_sock_addr *ctx, struct end *e)
{
	e->address.word[0] = e->address.word[1] = 0;
	e->address.word[2] = bpf_htonl(0xffff);
	e->address.word[3] = ctx->user_ip4;
	e->port = ctx->user_port;
}

static __always_inline void end6(const struct bpf_sock_addr *ctx, struct end *e)
{
	e->address.word[0] = ctx->user_ip6[0];
	e->address.word[1] = ctx->user_ip6[1];
	e->address.word[2] = ctx->user_ip6[2];
	e->address.word[3] = ctx->user_ip6[3];
	e->port = ctx->user_port;
}

static __always_inline void set4(struct bpf_sock_addr *ctx, const struct end *e)
{
	ctx->user_ip4 = e->address.word[3];
	ctx->user_port = e->port;
}

static __always_inline void set6(struct bpf_sock_addr *ctx, const struct end *e)
{
	ctx->user_ip6[0] = e->address.word[0];
	ctx->user_ip6[1] = e->address.word[1];
	ctx->user_ip6[2] = e->address.word[2];
	ctx->user_ip6[3] = e->address.word[3];
	ctx->user_port = e->port;
}

/* is_own says whether an address means the network namespace of whoever uses it: loopback, and
 * the unspecified address, by which the kernel connects to loopback. */
static __always_inline int is_own(const struct address *a)
{
	return is_loopback(a) || is_unspecified(a);
}

static __always_inline struct frontend *frontend_of(struct bpf_sock_addr *ctx, const struct end *e)
{
	if (is_own(&e->address) && bpf_get_netns_cookie(ctx) != cfg_host_netns_cookie)
		return 0;
	return find_frontend(&e->address, e->port, ctx->protocol);
}

/* choose_for chooses a backend of a pool for a client. */
static __always_inline enum choice_answer choose_for(struct bpf_sock_addr *ctx, __u32 pool, __u32 affinity, __u32 hash,
						     struct choice *c)
{
	struct affinity_key key = { .pool = pool, .socket = 1 };
	enum choice_answer answer;
	__u64 cookie;

	if (!affinity)
		return choose(pool, hash, c);
	cookie = bpf_get_netns_cookie(ctx);
	key.client.word[2] = cookie >> 32;
	key.client.word[3] = cookie;
	if (choose_again(&key, affinity, c) == FORMER_CHOSEN)
		return CHOICE_MADE;
	answer = choose(pool, hash, c);
	if (answer == CHOICE_MADE)
		note_choice(&key, c);
	return answer;
}

/* What resolve() says of an address. */
enum resolution {
	NO_SERVICE,
	RESOLVED,
	REFUSED,
};

/* resolve finds the backend for a socket that asks for an address. When its frontend was given
 * another pool meanwhile, or the slot another backend, it looks again. */
static __always_inline enum resolution resolve(struct bpf_sock_addr *ctx, const struct end *asked, __u32 hash, struct choice *c)
{
	enum choice_answer answer = CHOICE_EMPTY;

	for (int i = 0; i < 2; i++) {
		struct frontend *f = frontend_of(ctx, asked);

		if (!f)
			return NO_SERVICE;
		answer = choose_for(ctx, f->inside, f->affinity, hash + i, c);
		if (answer == CHOICE_MADE)
			return RESOLVED;
	}
	bpf_set_retval(answer == CHOICE_EMPTY ? -ECONNREFUSED : -EAGAIN);
	return REFUSED;
}

/* on_connect is for a socket that is connected: TCP, or UDP that is. */
static __always_inline enum resolution on_connect(struct bpf_sock_addr *ctx, struct end *e)
{
	struct socket_origin *origin;
	struct choice c = {};
	enum resolution r;

	if (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_UDP)
		return NO_SERVICE;
	r = resolve(ctx, e, bpf_get_prandom_u32(), &c);
	if (r != RESOLVED) {
		/* The socket may have been connected to a Service before. */
		bpf_sk_storage_delete(&fl_sock_origins, ctx->sk);
		return r;
	}
	origin = bpf_sk_storage_get(&fl_sock_origins, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (origin) { /* else there was no memory, and the process sees the backend's address */
		origin->asked = e->address;
		origin->asked_port = e->port;
		origin->backend = c.backend.address;
		origin->backend_port = c.backend.port;
		origin->pool = c.backend.pool;
	}
	e->address = c.backend.address;
	e->port = c.backend.port;
	return RESOLVED;
}

/* on_send is for a datagram with an address. All of a socket's to one address come to one
 * backend as long as it is there, as do those of a connection. */
static __always_inline enum resolution on_send(struct bpf_sock_addr *ctx, struct end *e)
{
	struct datagram_origin origin = { .asked = e->address, .port = e->port }, *had;
	struct datagram_key key = {};
	struct choice c = {};
	enum resolution r;
	struct end before;

	if (ctx->protocol != IPPROTO_UDP)
		return NO_SERVICE;
	key.cookie = bpf_get_socket_cookie(ctx);
	r = resolve(ctx, e, (key.cookie * 0x9E3779B97F4A7C15ULL) >> 32, &c);
	if (r != RESOLVED)
		return r;
	key.backend = c.backend.address;
	key.port = c.backend.port;
	before = *e;
	had = bpf_map_lookup_elem(&fl_udp_origins, &key);
	if (!had || !is_end(&before, &had->asked, had->port))
		bpf_map_update_elem(&fl_udp_origins, &key, &origin, BPF_ANY);
	e->address = c.backend.address;
	e->port = c.backend.port;
	return RESOLVED;
}

/* as_connected gives a backend the address that the socket was connected to, if it is that
 * backend, and says whether it is. */
static __always_inline int as_connected(struct bpf_sock_addr *ctx, struct end *e)
{
	struct socket_origin *origin = bpf_sk_storage_get(&fl_sock_origins, ctx->sk, 0, 0);

	if (!origin || !is_end(e, &origin->backend, origin->backend_port))
		return 0;
	e->address = origin->asked;
	e->port = origin->asked_port;
	return 1;
}

/* as_sent does so for a backend that datagrams with an address were sent to. */
static __always_inline int as_sent(struct bpf_sock_addr *ctx, struct end *e)
{
	struct datagram_key key = { .backend = e->address, .port = e->port };
	struct datagram_origin *origin;

	key.cookie = bpf_get_socket_cookie(ctx);
	origin = bpf_map_lookup_elem(&fl_udp_origins, &key);
	if (!origin)
		return 0;
	e->address = origin->asked;
	e->port = origin->port;
	return 1;
}

SEC("cgroup/connect4") int connect4(struct bpf_sock_addr *ctx)
{
	enum resolution r;
	struct end e;

	end4(ctx, &e);
	r = on_connect(ctx, &e);
	if (r == RESOLVED)
		set4(ctx, &e);
	return r == REFUSED ? SOCK_ADDR_REJECT : SOCK_ADDR_PROCEED;
}

SEC("cgroup/connect6") int connect6(struct bpf_sock_addr *ctx)
{
	enum resolution r;
	struct end e;

	end6(ctx, &e);
	r = on_connect(ctx, &e);
	if (r == RESOLVED)
		set6(ctx, &e);
	return r == REFUSED ? SOCK_ADDR_REJECT : SOCK_ADDR_PROCEED;
}

SEC("cgroup/sendmsg4") int sendmsg4(struct bpf_sock_addr *ctx)
{
	enum resolution r;
	struct end e;

	end4(ctx, &e);
	r = on_send(ctx, &e);
	if (r == RESOLVED)
		set4(ctx, &e);
	return r == REFUSED ? SOCK_ADDR_REJECT : SOCK_ADDR_PROCEED;
}

SEC("cgroup/sendmsg6") int sendmsg6(struct bpf_sock_addr *ctx)
{
	enum resolution r;
	struct end e;

	end6(ctx, &e);
	r = on_send(ctx, &e);
	if (r == RESOLVED)
		set6(ctx, &e);
	return r == REFUSED ? SOCK_ADDR_REJECT : SOCK_ADDR_PROCEED;
}

SEC("cgroup/recvmsg4") int recvmsg4(struct bpf_sock_addr *ctx)
{
	struct end e;

	end4(ctx, &e);
	if (as_connected(ctx, &e) || as_sent(ctx, &e))
		set4(ctx, &e);
	return SOCK_ADDR_PROCEED;
}

SEC("cgroup/recvmsg6") int recvmsg6(struct bpf_sock_addr *ctx)
{
	struct end e;

	end6(ctx, &e);
	if (as_connected(ctx, &e) || as_sent(ctx, &e))
		set6(ctx, &e);
	return SOCK_ADDR_PROCEED;
}

SEC("cgroup/getpeername4") int getpeername4(struct bpf_sock_addr *ctx)
{
	struct end e;

	end4(ctx, &e);
	if (as_connected(ctx, &e))
		set4(ctx, &e);
	return SOCK_ADDR_PROCEED;
}

SEC("cgroup/getpeername6") int getpeername6(struct bpf_sock_addr *ctx)
{
	struct end e;

	end6(ctx, &e);
	if (as_connected(ctx, &e))
		set6(ctx, &e);
	return SOCK_ADDR_PROCEED;
}
