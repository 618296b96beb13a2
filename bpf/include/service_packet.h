/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Packets of Services' clients and backends: which backend, and which addresses they go on
 * with. Whoever can be told of a Service when it connects a socket was (cgroup programs);
 * this is for packets from outside, and for pods that send them by other means.
 *
 * The rows of fl_translations are asked first, so that what is established costs one lookup
 * beyond its parsing. All nodes choose by the same hash, so a client that comes by another
 * node comes to the same backend. */
#pragma once
#include "service_send.h"


/* client_hash is the same on all nodes. With affinity a client's port says nothing. */
static __always_inline __u32 client_hash(const struct translation_key *k, int affinity)
{
	const __u64 *words = (const void *)k;
	__u64 h = 0x66616972;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		h = (h ^ words[i]) * 0x9E3779B97F4A7C15ULL;
		h ^= h >> 32;
	}
	h = (h ^ (affinity ? words[4] & ~0xffffULL : words[4])) * 0x9E3779B97F4A7C15ULL;
	return h >> 32 ^ h;
}

/* pick chooses a backend, into the work. */
__noinline int pick(__u32 pool, __u32 hash)
{
	struct work *w = work();

	return w ? choose(pool, hash, &w->choice) : CHOICE_EMPTY;
}

/* pick_again chooses the backend that a client had before, if it says FORMER_CHOSEN. */
__noinline int pick_again(__u32 pool, __u32 seconds)
{
	struct affinity_key key = { .pool = pool };
	struct work *w = work();

	if (!w)
		return FORMER_NONE;
	key.client = w->key.src;
	return choose_again(&key, seconds, &w->choice);
}

__noinline int note_affinity(__u32 pool)
{
	struct affinity_key key = { .pool = pool };
	struct work *w = work();

	if (!w)
		return 0;
	key.client = w->key.src;
	note_choice(&key, &w->choice);
	return 0;
}

/* pick_here chooses, for a packet that another node has handed on, a backend of this node:
 * that of all if it is, since the other node has chosen it too. */
__noinline int pick_here(__u32 pool, __u32 hash)
{
	for (__u32 i = 0; i < 16; i++) {
		int answer = pick(pool, hash + i);
		struct work *w = work();

		if (answer != CHOICE_MADE || !w)
			return answer;
		if (w->choice.backend.flags & BACKEND_LOCAL)
			return answer;
	}
	return pick(pool, hash);
}

static __always_inline int may_use(const struct frontend *f, const struct address *client)
{
	struct source_range_key key = { .prefixlen = 32 + 128, .service = f->service, .address = *client };

	return !(f->flags & FRONTEND_SOURCE_RANGES) || bpf_map_lookup_elem(&fl_src_ranges, &key);
}

/* frontend_at finds the frontend of the work's packet. One that was handed on is to an address
 * of the node that did. */
static __always_inline struct frontend *frontend_at(const struct work *w)
{
	struct frontend *f = find_frontend(&w->key.dst, w->key.dport, w->key.protocol);
	struct frontend_key key = { .port = w->key.dport, .protocol = w->key.protocol };

	if (f || THIS_HOOK != HOOK_FROM_OVERLAY)
		return f;
	key.address.word[2] = is_ipv4(&w->key.dst) ? bpf_htonl(0xffff) : 0;
	return bpf_map_lookup_elem(&fl_frontends, &key);
}

/* set_source decides which address the backend sees, and says whether it is the client's own.
 * It is not where the answer would not come back this way. */
static __always_inline int set_source(struct work *w)
{
	const struct backend *b = &w->choice.backend;
	int to_itself = same_address(&b->address, &w->key.src);

	w->row.src = w->key.src;
	if (THIS_HOOK == HOOK_FROM_POD ? !to_itself : (b->flags & BACKEND_LOCAL) != 0)
		return 1;
	if (is_ipv4(&w->key.src))
		map_ipv4(&w->row.src, b->flags & BACKEND_POD ? cfg_gateway4 : cfg_node4);
	else if (b->flags & BACKEND_POD)
		for (int i = 0; i < 4; i++)
			w->row.src.word[i] = cfg_gateway6[i];
	else
		for (int i = 0; i < 4; i++)
			w->row.src.word[i] = cfg_node6[i];
	return 0;
}

/* hand_on notes that the node of the backend is to answer the client itself. */
static __always_inline int hand_on(struct work *w)
{
	w->row.src = w->key.src;
	w->row.sport = w->key.sport;
	w->row.flags = TRANSLATION_SEEN | TRANSLATION_FORWARD;
	w->row.seen = tick();
	w->row.pad[0] = w->row.pad[1] = w->row.pad[2] = 0;
	bpf_map_update_elem(&fl_translations, &w->key, &w->row, BPF_ANY);
	return TO_SEND;
}

/* may_start says whether a packet may be the first that is met of a connection. TCP within a
 * connection without a row is left to the host's stack, which may have translated it from its
 * start, before Services were on here. Only where nodes answer clients directly it goes on: it
 * may have come by another node until now. */
static __always_inline int may_start(const struct work *w)
{
	if (w->key.protocol != IPPROTO_TCP || opens(w))
		return 1;
	if (w->tcp_flags & TCP_RST)
		return 0;
	return THIS_HOOK == HOOK_FROM_OVERLAY || (THIS_HOOK == HOOK_FROM_UPLINK && cfg_dsr);
}

/* start decides about the first packet of a connection: UNDECIDED when it is to no Service. */
__noinline int start(struct __sk_buff *skb)
{
	int outside = THIS_HOOK != HOOK_FROM_POD, former = FORMER_NONE, answer, keeps;
	struct work *w = work();
	struct frontend *f;
	struct range *from;
	__u32 pool, affinity, hash, flags;

	/* The loopback's addresses are for the node's own processes: the stack drops packets
	 * to them that come from elsewhere. */
	if (!w || !may_start(w) || is_loopback(&w->key.dst))
		return UNDECIDED;
	from = outside ? lookup_range(&w->key.src) : 0;
	if (from && THIS_HOOK == HOOK_FROM_OVERLAY)
		return UNDECIDED; /* of a pod; only what was handed on is of no pod */
	f = frontend_at(w);
	if (!f || (outside && (f->flags & FRONTEND_CLUSTER_IP)))
		return UNDECIDED;
	if (from && (from->flags & RANGE_LOCAL))
		return drop(skb, THIS_HOOK, REASON_DROP_SOURCE);
	if (outside && !may_use(f, &w->key.src))
		return drop(skb, THIS_HOOK, REASON_DROP_SOURCE_RANGE);
	pool = outside ? f->outside : f->inside;
	affinity = f->affinity;
	flags = f->flags;
	if (affinity)
		former = pick_again(pool, affinity);
	/* A client that comes again after its time may come to another backend. One of which
	 * nothing is known may have come to another node before, which chose by its address. */
	hash = client_hash(&w->key, affinity && former != FORMER_EXPIRED);
	if (former != FORMER_CHOSEN) {
		answer = THIS_HOOK == HOOK_FROM_OVERLAY ? pick_here(pool, hash) : pick(pool, hash);
		if (answer == CHOICE_CHANGING)
			return drop(skb, THIS_HOOK, REASON_DROP_CHANGING);
		if (answer != CHOICE_MADE && outside && (flags & FRONTEND_DROP_OUTSIDE))
			return drop(skb, THIS_HOOK, REASON_DROP_NO_BACKEND);
		if (answer != CHOICE_MADE)
			return TO_REFUSE;
		if (affinity)
			note_affinity(pool);
	}
	w->row.dst = w->choice.backend.address;
	w->row.dport = w->choice.backend.port;
	w->row.pool = pool;
	w->row.backend = w->choice.number;
	flags = w->choice.backend.flags;
	if (cfg_dsr && THIS_HOOK == HOOK_FROM_UPLINK && (flags & BACKEND_POD) && !(flags & BACKEND_LOCAL))
		return hand_on(w);
	keeps = set_source(w);
	if (!w->row.src.word[3])
		return drop(skb, THIS_HOOK, REASON_DROP_UNROUTED); /* the node has no address of the family */
	if (!begin(hash, keeps))
		return drop(skb, THIS_HOOK, REASON_DROP_NO_PORT);
	return TO_SEND;
}

/* set_key fills the work's key, and what it knows of the transport header. It returns less than
 * 0 for packets of no connection. */
__noinline int set_key(struct __sk_buff *skb)
{
	struct work *w = work();
	struct fragment_key k;
	struct fragment *first;
	__u8 tcp[2];

	if (!w || (w->packet.protocol != IPPROTO_TCP && w->packet.protocol != IPPROTO_UDP))
		return -1;
	w->key.protocol = w->packet.protocol;
	w->key.pad[0] = w->key.pad[1] = w->key.pad[2] = 0;
	w->tcp_flags = 0;
	w->headers = w->packet.transport - ETH_HLEN + sizeof(struct udphdr);
	if (!(w->packet.flags & PACKET_FLOW)) {
		if (!(w->packet.flags & PACKET_FRAGMENT))
			return -1;
		fragment_of(&k, &w->packet);
		first = bpf_map_lookup_elem(&fl_fragments, &k);
		if (!first)
			return -1;
		w->key.src = w->packet.src;
		w->key.dst = w->packet.dst;
		w->key.sport = first->sport;
		w->key.dport = first->dport;
		return 0;
	}
	w->key.src = w->packet.flow_src;
	w->key.dst = w->packet.flow_dst;
	w->key.sport = w->packet.flow_sport;
	w->key.dport = w->packet.flow_dport;
	if (w->packet.protocol != IPPROTO_TCP || (w->packet.flags & PACKET_ICMP_ERROR))
		return 0;
	if (bpf_skb_load_bytes(skb, w->packet.transport + 12, tcp, sizeof(tcp)) < 0)
		return -1;
	w->headers = w->packet.transport - ETH_HLEN + (tcp[0] >> 4) * 4;
	w->tcp_flags = tcp[1];
	return 0;
}

/* note_fragment remembers the ports of the first fragment for the later ones. */
__noinline int note_fragment(void)
{
	struct work *w = work();
	struct fragment_key k;
	struct fragment first;

	if (!w)
		return 0;
	fragment_of(&k, &w->packet);
	first.sport = w->key.sport;
	first.dport = w->key.dport;
	bpf_map_update_elem(&fl_fragments, &k, &first, BPF_ANY);
	return 0;
}

enum { FIRST_OR_ONLY_FRAGMENT = PACKET_FRAGMENT | PACKET_FLOW };

static __always_inline int is_first_fragment(const struct packet *p)
{
	return (p->flags & (FIRST_OR_ONLY_FRAGMENT | PACKET_ICMP_ERROR)) == FIRST_OR_ONLY_FRAGMENT;
}

/* serve finds the row of the work's packet, which is parsed, or makes it: UNDECIDED when it is of
 * no Service. */
__noinline int serve(struct __sk_buff *skb)
{
	struct translation *row;
	struct work *w = work();
	int action;

	if (!w || set_key(skb) < 0)
		return UNDECIDED;
	row = bpf_map_lookup_elem(&fl_translations, &w->key);
	if (row) {
		w->row = *row;
		if (is_stale()) {
			forget();
			row = 0;
		} else {
			met(w, row);
		}
	}
	if (!row) {
		if (!(w->packet.flags & PACKET_FLOW) || (w->packet.flags & PACKET_ICMP_ERROR))
			return UNDECIDED;
		action = start(skb);
		if (action == UNDECIDED && THIS_HOOK == HOOK_FROM_POD && opens(w))
			forget_former();
		if (action != TO_SEND)
			return action;
	}
	if (is_first_fragment(&w->packet))
		note_fragment();
	return TO_SEND;
}

/* service does with the work's packet, which is parsed, what its Service asks for: UNDECIDED when it
 * is of none. Its steps are called from here and not from one another, as each may use as much
 * of the stack as is left. */
static __always_inline int service(struct __sk_buff *skb)
{
	int action = serve(skb);

	if (action == TO_REFUSE)
		return refuse(skb);
	if (action == TO_SEND)
		action = send_on(skb);
	if (action == TO_NODE)
		action = to_other_node(skb);
	if (action == TO_TUNNEL)
		action = through_tunnel(skb);
	else if (action == TO_LEAVE)
		action = leave(skb);
	return action;
}

/* answer_back translates what the host's stack sends when it is the answer of a backend on this
 * host, and says whether it was. */
__noinline int answer_back(struct __sk_buff *skb)
{
	struct translation *row;
	struct work *w = work();

	if (!w || set_key(skb) < 0)
		return 0;
	row = bpf_map_lookup_elem(&fl_translations, &w->key);
	if (!row || !(row->flags & TRANSLATION_REPLY))
		return 0;
	w->row = *row;
	met(w, row);
	if (is_first_fragment(&w->packet))
		note_fragment();
	rewrite(skb);
	return 1;
}
