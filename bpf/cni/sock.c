/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What processes of the node ask of their sockets (programs of a cgroup): a socket that
 * connects to a Service connects to one of its backends instead, once, so that its packets
 * are those between any two ends. Who asks is told the address that was asked for. */
#include "connection.h"
#include "count.h"
#include "parse.h"
#include "service.h"

/* What the programs return. */
enum {
	REFUSE = 0,
	PROCEED = 1,
};

static __always_inline void asked4(const struct bpf_sock_addr *ctx, struct address *a)
{
	map_ipv4(a, ctx->user_ip4);
}

static __always_inline void asked6(const struct bpf_sock_addr *ctx, struct address *a)
{
	a->word[0] = ctx->user_ip6[0];
	a->word[1] = ctx->user_ip6[1];
	a->word[2] = ctx->user_ip6[2];
	a->word[3] = ctx->user_ip6[3];
}

static __always_inline void answer4(struct bpf_sock_addr *ctx, const struct address *a, __be16 port)
{
	ctx->user_ip4 = a->word[3];
	ctx->user_port = port;
}

static __always_inline void answer6(struct bpf_sock_addr *ctx, const struct address *a, __be16 port)
{
	ctx->user_ip6[0] = a->word[0];
	ctx->user_ip6[1] = a->word[1];
	ctx->user_ip6[2] = a->word[2];
	ctx->user_ip6[3] = a->word[3];
	ctx->user_port = port;
}

static __always_inline int is_loopback(const struct address *a)
{
	if (is_ipv4_address(a))
		return (a->word[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == 0 && a->word[3] == bpf_htonl(1);
}

/* client_of fills in who a socket belongs to: the pod, by its network namespace. */
static __always_inline void client_of(struct bpf_sock_addr *ctx, struct affinity_key *key, __u32 pool)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);

	key->client.word[0] = key->client.word[1] = 0;
	key->client.word[2] = cookie >> 32;
	key->client.word[3] = cookie;
	key->pool = pool;
	key->socket = 1;
}

/* choose_again chooses the backend that the client had before, if it is still there. */
static __always_inline int choose_again(const struct affinity_key *key, __u32 seconds, struct choice *c)
{
	struct affinity *a = bpf_map_lookup_elem(&fl_affinities, key);
	struct backend *b;
	__u32 now = tick();

	if (!a || now - a->seen > (__u64)seconds * 1000000000 >> 30)
		return 0;
	c->number = a->backend;
	b = bpf_map_lookup_elem(&fl_backends, &c->number);
	if (!b || b->pool != key->pool || !same_address(&b->address, &a->address))
		return 0;
	c->backend = *b;
	a->seen = now;
	return 1;
}

static __always_inline enum choice_answer choose_sticky(struct bpf_sock_addr *ctx, const struct frontend *f, __u32 hash, struct choice *c)
{
	struct affinity_key key;
	enum choice_answer answer;

	if (!f->affinity)
		return choose(f->inside, hash, c);
	client_of(ctx, &key, f->inside);
	if (choose_again(&key, f->affinity, c))
		return CHOICE_MADE;
	answer = choose(f->inside, hash, c);
	if (answer == CHOICE_MADE) {
		struct affinity a = { .backend = c->number, .seen = tick(), .address = c->backend.address };

		bpf_map_update_elem(&fl_affinities, &key, &a, BPF_ANY);
	}
	return answer;
}

/* frontend_of finds the Service that is asked for. */
static __always_inline struct frontend *frontend_of(struct bpf_sock_addr *ctx, const struct address *asked)
{
	struct frontend *f;

	if (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_UDP)
		return 0;
	f = find_frontend(asked, ctx->user_port, ctx->protocol);
	if (f && is_loopback(asked) && bpf_get_netns_cookie(ctx) != cfg_host_cookie)
		return 0;
	return f;
}

/* refuse makes the call fail as if the other end had refused it. */
static __always_inline int refuse(void)
{
	bpf_set_retval(-ECONNREFUSED);
	return REFUSE;
}

/* to_backend chooses for a socket that connects, and remembers with it what was asked for. */
static __always_inline int to_backend(struct bpf_sock_addr *ctx, const struct address *asked, struct choice *c)
{
	struct frontend *f = frontend_of(ctx, asked);
	struct socket_origin *o;

	if (!f)
		return UNDECIDED;
	if (choose_sticky(ctx, f, bpf_get_prandom_u32(), c) != CHOICE_MADE)
		return refuse();
	o = bpf_sk_storage_get(&fl_sock_origins, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (o) {
		o->asked = *asked;
		o->asked_port = ctx->user_port;
		o->backend = c->backend.address;
		o->backend_port = c->backend.port;
		o->pool = c->backend.pool;
	}
	return PROCEED;
}

SEC("cgroup/connect4")
int sock_connect4(struct bpf_sock_addr *ctx)
{
	struct address asked;
	struct choice c;
	int answer;

	asked4(ctx, &asked);
	answer = to_backend(ctx, &asked, &c);
	if (answer == UNDECIDED)
		return PROCEED;
	if (answer == PROCEED)
		answer4(ctx, &c.backend.address, c.backend.port);
	return answer;
}

SEC("cgroup/connect6")
int sock_connect6(struct bpf_sock_addr *ctx)
{
	struct address asked;
	struct choice c;
	int answer;

	asked6(ctx, &asked);
	answer = to_backend(ctx, &asked, &c);
	if (answer == UNDECIDED)
		return PROCEED;
	if (answer == PROCEED)
		answer6(ctx, &c.backend.address, c.backend.port);
	return answer;
}

/* datagram chooses for a datagram of a socket that is not connected. All of a socket go to
 * one backend as long as there is one: a question may have several. */
static __always_inline int datagram(struct bpf_sock_addr *ctx, const struct address *asked, struct choice *c)
{
	struct frontend *f = frontend_of(ctx, asked);
	struct datagram_origin o = { .asked = *asked, .port = ctx->user_port };
	struct datagram_key key = {};
	__u64 hash;

	if (!f)
		return UNDECIDED;
	key.cookie = bpf_get_socket_cookie(ctx);
	hash = key.cookie * 0x9E3779B97F4A7C15ULL;
	if (choose_sticky(ctx, f, hash >> 32, c) != CHOICE_MADE)
		return refuse();
	key.backend = c->backend.address;
	key.port = c->backend.port;
	bpf_map_update_elem(&fl_udp_origins, &key, &o, BPF_ANY);
	return PROCEED;
}

SEC("cgroup/sendmsg4")
int sock_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct address asked;
	struct choice c;
	int answer;

	asked4(ctx, &asked);
	answer = datagram(ctx, &asked, &c);
	if (answer == UNDECIDED)
		return PROCEED;
	if (answer == PROCEED)
		answer4(ctx, &c.backend.address, c.backend.port);
	return answer;
}

SEC("cgroup/sendmsg6")
int sock_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct address asked;
	struct choice c;
	int answer;

	asked6(ctx, &asked);
	answer = datagram(ctx, &asked, &c);
	if (answer == UNDECIDED)
		return PROCEED;
	if (answer == PROCEED)
		answer6(ctx, &c.backend.address, c.backend.port);
	return answer;
}

/* origin finds what the socket asked for when the other end of its connection is a backend. */
static __always_inline struct socket_origin *origin(struct bpf_sock_addr *ctx, const struct address *peer)
{
	struct socket_origin *o = bpf_sk_storage_get(&fl_sock_origins, ctx->sk, 0, 0);

	if (!o || o->backend_port != ctx->user_port || !same_address(&o->backend, peer))
		return 0;
	return o;
}

/* asked_for replaces a backend, in a, by what was asked for, and says whether it was one. */
static __always_inline int asked_for(struct bpf_sock_addr *ctx, struct address *a, __be16 *port)
{
	struct socket_origin *o = origin(ctx, a);
	struct datagram_key key = {};
	struct datagram_origin *d;

	if (o) {
		*a = o->asked;
		*port = o->asked_port;
		return 1;
	}
	if (ctx->protocol != IPPROTO_UDP)
		return 0;
	key.cookie = bpf_get_socket_cookie(ctx);
	key.backend = *a;
	key.port = ctx->user_port;
	d = bpf_map_lookup_elem(&fl_udp_origins, &key);
	if (!d)
		return 0;
	*a = d->asked;
	*port = d->port;
	return 1;
}

static __always_inline int tell4(struct bpf_sock_addr *ctx)
{
	struct address a;
	__be16 port;

	asked4(ctx, &a);
	if (asked_for(ctx, &a, &port))
		answer4(ctx, &a, port);
	return PROCEED;
}

static __always_inline int tell6(struct bpf_sock_addr *ctx)
{
	struct address a;
	__be16 port;

	asked6(ctx, &a);
	if (asked_for(ctx, &a, &port))
		answer6(ctx, &a, port);
	return PROCEED;
}

SEC("cgroup/recvmsg4")
int sock_recvmsg4(struct bpf_sock_addr *ctx)
{
	return tell4(ctx);
}

SEC("cgroup/recvmsg6")
int sock_recvmsg6(struct bpf_sock_addr *ctx)
{
	return tell6(ctx);
}

SEC("cgroup/getpeername4")
int sock_getpeer4(struct bpf_sock_addr *ctx)
{
	return tell4(ctx);
}

SEC("cgroup/getpeername6")
int sock_getpeer6(struct bpf_sock_addr *ctx)
{
	return tell6(ctx);
}

char _license[] SEC("license") = "GPL";
