/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The table of translations. A translated connection has a row for each direction; what
 * one of them lacks is made from the other, as the table gives rows away that were not
 * used for long. A row keeps its backend for as long as the connection lasts. */
#pragma once
#include "work.h"

/* Ports that tell one client of a backend from others, where several have one source. The
 * kernel gives sockets other ones (net.ipv4.ip_local_port_range), as package masquerade does
 * with the router's address; node ports begin behind them. */
#define FIRST_PORT 1024
#define PORT_COUNT 28224

/* How many ports are tried, and in which steps: each client's own, or clients would queue up
 * behind each other's ports. PORT_COUNT is divided by 2, 3 and 7, so that steps of one more
 * than a multiple of 42 come to every port. */
#define PORT_TRIES 32
#define PORT_STEP(hash) (1 + 42 * ((hash) / PORT_COUNT % (PORT_COUNT / 42)))

/* other_direction fills k with the key of the packets that go against those of a row. */
static __always_inline void other_direction(struct translation_key *k, const struct translation *row, __u8 protocol)
{
	k->src = row->dst;
	k->dst = row->src;
	k->sport = row->dport;
	k->dport = row->sport;
	k->protocol = protocol;
	k->pad[0] = k->pad[1] = k->pad[2] = 0;
}

/* is_over says whether nothing is to be expected of a row's connection any more. */
static __always_inline int is_over(const struct translation *row, __u8 protocol, __u32 now)
{
	__s32 idle = now - row->seen; /* less than 0: seen by a CPU whose clock is ahead by a tick */

	if (protocol != IPPROTO_TCP)
		return idle > LIFE_UDP_ANSWERED;
	if (row->flags & TRANSLATION_CLOSING)
		return idle > LIFE_TCP_CLOSED;
	return idle > (row->flags & TRANSLATION_SEEN ? LIFE_TCP_ESTABLISHED : LIFE_TCP_OPENING);
}

/* fill_reverse makes the work's row of the other direction from its row and key. */
static __always_inline void fill_reverse(struct work *w, __u8 flags, __u32 now)
{
	w->reverse.src = w->key.dst;
	w->reverse.dst = w->key.src;
	w->reverse.sport = w->key.dport;
	w->reverse.dport = w->key.sport;
	w->reverse.flags = flags;
	w->reverse.pad[0] = w->reverse.pad[1] = w->reverse.pad[2] = 0;
	w->reverse.seen = now;
	w->reverse.pool = w->row.pool;
	w->reverse.backend = w->row.backend;
}

/* keep_both looks at the other direction's row, so that it counts as used, and makes it
 * when it is gone. */
__noinline int keep_both(__u32 now)
{
	struct work *w = work();

	if (!w)
		return 0;
	other_direction(&w->back, &w->row, w->key.protocol);
	if (bpf_map_lookup_elem(&fl_translations, &w->back))
		return 0;
	fill_reverse(w, ~w->row.flags & TRANSLATION_REPLY, now);
	bpf_map_update_elem(&fl_translations, &w->back, &w->reverse, BPF_NOEXIST);
	return 0;
}

/* end_other notes that nothing comes from the other direction either: after RST it says nothing,
 * and its port would be kept as that of an established connection. */
__noinline int end_other(void)
{
	struct work *w = work();
	struct translation *other;

	if (!w)
		return 0;
	other_direction(&w->back, &w->row, w->key.protocol);
	other = bpf_map_lookup_elem(&fl_translations, &w->back);
	if (other)
		other->flags |= TRANSLATION_CLOSING;
	return 0;
}

/* met takes a packet of the work's row into account. */
static __always_inline void met(struct work *w, struct translation *row)
{
	__u8 flags = row->flags | TRANSLATION_SEEN;
	__u32 now = tick();

	if (w->tcp_flags & (TCP_FIN | TCP_RST))
		flags |= TRANSLATION_CLOSING;
	if (flags != row->flags)
		row->flags = flags;
	if ((w->tcp_flags & TCP_RST) && !(flags & TRANSLATION_FORWARD))
		end_other();
	if (row->seen == now)
		return;
	row->seen = now;
	if (!(row->flags & TRANSLATION_FORWARD))
		keep_both(now);
}

static __always_inline int opens(const struct work *w)
{
	return (w->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* has_left says whether the backend of a row is no longer in its pool. */
static __always_inline int has_left(const struct translation *row)
{
	__u32 number = row->backend;
	struct backend *b = bpf_map_lookup_elem(&fl_backends, &number);

	return !b || b->pool != row->pool || b->port != row->dport || !same_address(&b->address, &row->dst);
}

/* is_stale says whether a client's packet asks for a new choice: an established TCP connection
 * stays with its backend, a new one on the same ports does not, nor does UDP. */
__noinline int is_stale(void)
{
	struct work *w = work();
	struct translation *reply;

	if (!w || (w->row.flags & TRANSLATION_REPLY) || (w->packet.flags & PACKET_ICMP_ERROR))
		return 0;
	if (w->key.protocol == IPPROTO_UDP)
		return is_over(&w->row, IPPROTO_UDP, tick()) || has_left(&w->row);
	if (!opens(w))
		return 0;
	if ((w->row.flags & TRANSLATION_CLOSING) || has_left(&w->row))
		return 1;
	other_direction(&w->back, &w->row, w->key.protocol);
	reply = bpf_map_lookup_elem(&fl_translations, &w->back);
	return reply && (reply->flags & TRANSLATION_CLOSING);
}

/* forget removes both rows of the work's connection. */
__noinline int forget(void)
{
	struct work *w = work();
	struct translation *reply;

	if (!w)
		return 0;
	bpf_map_delete_elem(&fl_translations, &w->key);
	if (w->row.flags & TRANSLATION_FORWARD)
		return 0;
	other_direction(&w->back, &w->row, w->key.protocol);
	reply = bpf_map_lookup_elem(&fl_translations, &w->back);
	if (reply && reply->dport == w->key.sport && same_address(&reply->dst, &w->key.src))
		bpf_map_delete_elem(&fl_translations, &w->back);
	return 0;
}

/* forget_former removes the row of replies that an earlier connection, to a Service, has left
 * where one to the backend itself opens now from the same port. */
__noinline int forget_former(void)
{
	struct work *w = work();
	struct translation *reply;

	if (!w)
		return 0;
	w->back.src = w->key.dst;
	w->back.dst = w->key.src;
	w->back.sport = w->key.dport;
	w->back.dport = w->key.sport;
	w->back.protocol = w->key.protocol;
	w->back.pad[0] = w->back.pad[1] = w->back.pad[2] = 0;
	reply = bpf_map_lookup_elem(&fl_translations, &w->back);
	if (reply && (reply->flags & TRANSLATION_REPLY))
		bpf_map_delete_elem(&fl_translations, &w->back);
	return 0;
}

/* take_port says whether replies to a port of the work's row are the work's connection's from
 * now on. */
__noinline int take_port(__u32 port)
{
	struct work *w = work();
	struct translation *taken;

	if (!w)
		return 0;
	w->row.sport = bpf_htons((__u16)port);
	w->back.dport = w->row.sport;
	if (bpf_map_update_elem(&fl_translations, &w->back, &w->reverse, BPF_NOEXIST) == 0)
		return 1;
	taken = bpf_map_lookup_elem(&fl_translations, &w->back);
	if (taken && !is_over(taken, w->key.protocol, w->reverse.seen) &&
	    !(taken->dport == w->key.sport && taken->sport == w->key.dport && same_address(&taken->dst, &w->key.src) &&
	      same_address(&taken->src, &w->key.dst)))
		return 0;
	return bpf_map_update_elem(&fl_translations, &w->back, &w->reverse, BPF_ANY) == 0;
}

/* begin writes the rows of a new connection whose addresses and backend the work's row has, and
 * chooses the port that its backend sees: the client's own where its address is kept and
 * the port is free. It returns 0 when none is. */
__noinline int begin(__u32 hash, __u32 keeps_port)
{
	struct work *w = work();
	struct flow f;
	__u32 port, i;

	if (!w)
		return 0;
	w->row.flags = TRANSLATION_SEEN;
	w->row.seen = tick();
	w->row.pad[0] = w->row.pad[1] = w->row.pad[2] = 0;
	other_direction(&w->back, &w->row, w->key.protocol);
	fill_reverse(w, TRANSLATION_REPLY, w->row.seen);
	if (!keeps_port || !take_port(bpf_ntohs(w->key.sport))) {
		for (i = 0; i < PORT_TRIES; i++) {
			port = FIRST_PORT + (hash % PORT_COUNT + i * PORT_STEP(hash)) % PORT_COUNT;
			if (take_port(port))
				break;
		}
		if (i == PORT_TRIES)
			return 0;
	}
	bpf_map_update_elem(&fl_translations, &w->key, &w->row, BPF_ANY);
	/* What went directly on these ports is over. */
	flow_of(&w->row.src, &w->row.dst, w->row.sport, w->row.dport, w->key.protocol, &f);
	forget_connection(&f);
	return 1;
}
