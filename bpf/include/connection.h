/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The table of connections: which way the packets of each direction take, so that all but
 * the first need one lookup.
 *
 * It is an array in which a connection has FLOW_WAYS possible rows, because neither of
 * the kernel's hash maps will do: an LRU map gives the rows of idle connections to
 * whoever opens enough new ones, a plain one stays full when nobody sweeps it. Here a row
 * is given away when its connection is over, closed or unanswered, and never while it is
 * established; a connection that finds no row is decided packet by packet, which is slower
 * and as right. No sweeper is needed, so the table also works while no agent runs.
 *
 * A row has one writer at a time, who has made its sequence odd by compare-and-exchange;
 * whoever loses goes without. Readers copy what they need and look at the sequence again.
 * Stores must become visible in their order for that: on x86 they do; elsewhere a reader
 * may, once in a very long time, take a half-written path for whole (the exchange orders
 * the start of a write, nothing orders its end), which sends one packet to a wrong MAC
 * address. */
#pragma once
#include "clock.h"
#include "config.h"
#include "maps.h"
#include "quick.h"

#define FLOW_WAYS 8

/* How long a connection is remembered after its last packet, in ticks. The ones of an
 * established TCP connection are those of RFC 5382 (REQ-5: two hours and four minutes),
 * of UDP those of RFC 4787 (REQ-5). */
#define LIFE_TCP_ESTABLISHED 6940
#define LIFE_TCP_OPENING 60
#define LIFE_TCP_CLOSING 240
#define LIFE_TCP_CLOSED 10
#define LIFE_UDP_ANSWERED 280
#define LIFE_UDP_UNANSWERED 30

static __always_inline void count_flow(enum flow_event event)
{
	__u32 index = event;
	__u64 *c = bpf_map_lookup_elem(&fl_flow_events, &index);

	if (c)
		(*c)++;
}

static __always_inline struct state *shared_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&fl_state, &zero);
}

/* flow_hash mixes the flow's five words with the secret seed (the multiplier is that of
 * Fibonacci hashing: 2^64 divided by the golden ratio). */
static __always_inline __u32 flow_hash(const struct flow *f, __u64 seed)
{
	const __u64 *words = (const void *)f;
	__u64 h = seed;

#pragma unroll
	for (int i = 0; i < 5; i++) {
		h = (h ^ words[i]) * 0x9E3779B97F4A7C15ULL;
		h ^= h >> 32;
	}
	return h;
}

static __always_inline int same_flow(const struct flow *x, const struct flow *y)
{
	const __u64 *v = (const void *)x, *w = (const void *)y;

	return v[3] == w[3] && v[4] == w[4] && v[1] == w[1] && v[2] == w[2] && v[0] == w[0];
}

static __always_inline struct connection *row(__u32 index)
{
	index &= cfg_flow_mask;
	return bpf_map_lookup_elem(&fl_connections, &index);
}

/* A packet of a connection, and the way that it takes. */
struct course {
	struct quick packet;
	struct path path;
	struct address remote; /* the other node's end, of a tunnel */
	__u32 hash;
	__u32 epoch;
	__u32 now;
	__u32 connection; /* 0: the packet is of none that gets a row; all above but path is unset */
	__u32 verdict; /* of enum connection_verdict, for a row of its own; 0: no policy was asked */
};

/* set_course fills c for a packet whose headers are known, except for its path. */
static __always_inline void set_course(struct course *c, const struct state *s)
{
	c->hash = flow_hash(&c->packet.flow, s->seed);
	c->epoch = READ_ONCE(s->epoch);
	c->now = tick();
	c->connection = 1;
}

static __always_inline int is_opening(__u16 tcp_flags)
{
	return (tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* is_allowed_still says whether a packet is of the connection that policies have let through, and
 * not of another one on the same ports. */
static __always_inline int is_allowed_still(const struct connection *one, const struct course *c)
{
	return !is_opening(c->packet.tcp_flags) && (__s32)(c->now - one->seen) <= LIFE_UDP_ANSWERED;
}

/* find_path fills in the path of a packet, when it is known and of this epoch. It returns
 * the connection's row for saw(), NO_ROW when there is none. It is a function of its own,
 * as are others below, so that the verifier need not go through it for each way to it. */
#define NO_ROW 0xffffffff

__noinline __u32 find_path(struct course *c)
{
	if (!c)
		return NO_ROW;
	for (int i = 0; i < FLOW_WAYS; i++) {
		struct connection *one = row(c->hash + i);
		__u32 sequence;

		if (!one)
			return NO_ROW;
		sequence = READ_ONCE(one->sequence);
		barrier();
		if (!same_flow(&one->flow, &c->packet.flow))
			continue;
		if (one->epoch != c->epoch)
			return NO_ROW;
		if ((one->verdict & CONNECTION_ALLOWED) && !is_allowed_still(one, c))
			return NO_ROW;
		c->path = c->packet.direction ? one->path[1] : one->path[0];
		c->remote = one->remote;
		barrier();
		if ((sequence & 1) || READ_ONCE(one->sequence) != sequence || c->path.kind == PATH_NONE)
			return NO_ROW;
		return (c->hash + i) & cfg_flow_mask;
	}
	return NO_ROW;
}

/* note takes a packet of a connection into account. What it writes are hints for when the row may be
 * given away; two CPUs that write at the same moment lose one of two hints. */
static __always_inline void note(struct connection *c, const struct quick *packet, __u32 now)
{
	__u8 flags = c->flags, news = CONNECTION_SEEN << packet->direction;
	__u8 tcp_flags = packet->tcp_flags;

	if (tcp_flags & TCP_FIN)
		news |= CONNECTION_FIN << packet->direction;
	if (tcp_flags & TCP_RST)
		news |= CONNECTION_RST;
	if (is_opening(tcp_flags))
		flags = 0; /* the ports are used again */
	if ((flags | news) != c->flags)
		c->flags = flags | news;
	if (c->seen != now)
		c->seen = now;
}

/* saw notes a packet whose connection find_path has found. */
static __always_inline void saw(__u32 index, const struct course *c)
{
	struct connection *one = row(index);

	if (one)
		note(one, &c->packet, c->now);
}

enum { FLOW_FINS = CONNECTION_FIN | CONNECTION_FIN << 1, FLOW_ANSWERED = CONNECTION_SEEN | CONNECTION_SEEN << 1 };

static __always_inline int is_closed(const struct connection *c)
{
	return (c->flags & CONNECTION_RST) || (c->flags & FLOW_FINS) == FLOW_FINS;
}

static __always_inline int is_answered(const struct connection *c)
{
	return (c->flags & FLOW_ANSWERED) == FLOW_ANSWERED;
}

static __always_inline __u32 life(const struct connection *c)
{
	if (c->flow.protocol != IPPROTO_TCP)
		return is_answered(c) ? LIFE_UDP_ANSWERED : LIFE_UDP_UNANSWERED;
	if (is_closed(c))
		return LIFE_TCP_CLOSED;
	if (c->flags & FLOW_FINS)
		return LIFE_TCP_CLOSING;
	return is_answered(c) ? LIFE_TCP_ESTABLISHED : LIFE_TCP_OPENING;
}

/* How gladly a row is given away; of equals the one that was idle longest is. */
enum spare {
	SPARE_NOT = 0, /* established */
	SPARE_UNANSWERED = 1,
	SPARE_CLOSED = 2,
	SPARE_OVER = 3,
	SPARE_FREE = 4,
};

static __always_inline enum spare spare(const struct connection *c, __u32 idle)
{
	if (c->flow.protocol == 0)
		return SPARE_FREE;
	if (idle > life(c))
		return SPARE_OVER;
	if (is_closed(c))
		return SPARE_CLOSED;
	return is_answered(c) ? SPARE_NOT : SPARE_UNANSWERED;
}

/* spare_score says how gladly row index is given away; the higher bits are those of enum
 * spare. */
__noinline __u32 spare_score(__u32 index, __u32 now)
{
	struct connection *c = row(index);
	__u32 idle, score;

	if (!c)
		return 0;
	idle = now - c->seen;
	if ((__s32)idle < 0)
		idle = 0; /* seen by a CPU whose clock is ahead by a tick */
	score = spare(c, idle) << 28;
	return score ? score | (idle & 0x0fffffff) : 0;
}

/* find_row returns the row that a connection has, else NULL. */
static __always_inline struct connection *find_row(const struct flow *f, __u32 hash)
{
	for (int i = 0; i < FLOW_WAYS; i++) {
		struct connection *c = row(hash + i);

		if (!c)
			return 0;
		if (same_flow(&c->flow, f))
			return c;
	}
	return 0;
}

/* spare_row returns a row for a new connection, NULL for none. */
static __always_inline struct connection *spare_row(__u32 hash, __u32 now)
{
	__u32 best = 0, best_score = 0;

	for (int i = 0; i < FLOW_WAYS; i++) {
		__u32 score = spare_score(hash + i, now);

		if (score > best_score) {
			best = i;
			best_score = score;
		}
	}
	switch (best_score >> 28) {
	case SPARE_NOT:
		count_flow(FLOW_TABLE_FULL);
		return 0;
	case SPARE_UNANSWERED:
		count_flow(FLOW_EVICTED_UNANSWERED);
		break;
	case SPARE_CLOSED:
		count_flow(FLOW_EVICTED_CLOSED);
		break;
	}
	return row(hash + best);
}

static __always_inline int lock_row(struct connection *c)
{
	__u32 sequence = READ_ONCE(c->sequence);

	if ((sequence & 1) || __sync_val_compare_and_swap(&c->sequence, sequence, sequence + 1) != sequence) {
		count_flow(FLOW_CONTENDED);
		return 0;
	}
	return 1;
}

static __always_inline void unlock_row(struct connection *c)
{
	barrier();
	WRITE_ONCE(c->sequence, c->sequence + 1);
}

/* opener says, by the first packet that was met of a connection, who opened it. In TCP it must
 * be the very first. */
static __always_inline __u8 opener(const struct quick *packet)
{
	if (packet->flow.protocol == IPPROTO_TCP && !is_opening(packet->tcp_flags))
		return 0;
	return CONNECTION_OPENED | (packet->direction ? CONNECTION_OPENED_B : 0);
}

static __always_inline void write_row(struct connection *row, const struct course *c, int known)
{
	if (!known) {
		row->flow = c->packet.flow;
		row->flags = 0;
	}
	if (c->verdict)
		row->verdict = c->verdict;
	else if (!known)
		row->verdict = opener(&c->packet);
	if (!known || row->epoch != c->epoch) {
		row->path[0].kind = PATH_NONE;
		row->path[1].kind = PATH_NONE;
		row->epoch = c->epoch;
	}
	if (c->path.kind == PATH_TUNNEL || (c->path.flags & PATH_FROM_TUNNEL))
		row->remote = c->remote;
	if (c->packet.direction)
		row->path[1] = c->path;
	else
		row->path[0] = c->path;
}

/* remember writes the path of a packet's direction. */
__noinline int remember(struct course *c)
{
	struct connection *row;
	int known;

	if (!c || !c->connection)
		return 0;
	row = find_row(&c->packet.flow, c->hash);
	if (!row)
		row = spare_row(c->hash, c->now);
	if (!row || !lock_row(row))
		return 0;
	known = same_flow(&row->flow, &c->packet.flow);
	write_row(row, c, known);
	unlock_row(row);
	count_flow(known ? FLOW_DECIDED_ANEW : FLOW_CREATED);
	note(row, &c->packet, c->now);
	return 0;
}

/* find_verdict returns the verdict about a packet's connection, of enum connection_verdict; what
 * was allowed in another epoch is CONNECTION_OPENED only. 0: it has no row, or is over. */
__noinline __u32 find_verdict(struct course *c)
{
	struct connection *one;
	__u32 sequence, verdict, epoch;
	__s32 idle;

	if (!c)
		return 0;
	one = find_row(&c->packet.flow, c->hash);
	if (!one)
		return 0;
	sequence = READ_ONCE(one->sequence);
	barrier();
	verdict = one->verdict;
	epoch = one->epoch;
	idle = c->now - one->seen;
	/* as find_path, which does not ask for more in a hurry */
	if (idle > LIFE_UDP_ANSWERED && idle > (__s32)life(one))
		return 0;
	barrier();
	if ((sequence & 1) || READ_ONCE(one->sequence) != sequence || !same_flow(&one->flow, &c->packet.flow))
		return 0;
	if (epoch != c->epoch)
		verdict &= ~CONNECTION_ALLOWED;
	if ((verdict & CONNECTION_ALLOWED) && c->connection)
		note(one, &c->packet, c->now);
	return verdict;
}

/* forget_connection frees the row of a flow. */
__noinline int forget_connection(struct flow *f)
{
	struct state *s = shared_state();
	struct connection *c;

	if (!s || !f)
		return 0;
	c = find_row(f, flow_hash(f, s->seed));
	if (!c)
		return 0;
	for (int tries = 0; tries < 8; tries++) { /* a write takes some nanoseconds */
		if (!lock_row(c))
			continue;
		if (same_flow(&c->flow, f))
			c->flow.protocol = 0;
		unlock_row(c);
		return 0;
	}
	return 0;
}
