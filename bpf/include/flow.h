/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Which flows must take the host's network stack.
 *
 * Services are translated by the stack: pod A asks a service, the stack rewrites the
 * destination to pod B and sends the packet on, and the answer of B to A must meet the
 * stack again to be rewritten back. So the hooks where packets leave the stack towards
 * a pod note every flow between pods, and the hooks where packets could bypass the
 * stack look there first. */
#pragma once
#include "maps.h"
#include "parse.h"

/* precedes orders two addresses; any total order will do. */
static __always_inline int precedes(const struct address *x, const struct address *y)
{
	for (int i = 0; i < 4; i++) {
		if (x->word[i] != y->word[i])
			return x->word[i] < y->word[i];
	}
	return 0;
}

static __always_inline int same_address(const struct address *x, const struct address *y)
{
	return x->word[0] == y->word[0] && x->word[1] == y->word[1] && x->word[2] == y->word[2] &&
	       x->word[3] == y->word[3];
}

static __always_inline void flow_key(const struct packet *p, struct flow *f)
{
	int swap = precedes(&p->flow_dst, &p->flow_src);

	if (same_address(&p->flow_src, &p->flow_dst))
		swap = p->flow_dport < p->flow_sport;
	f->a = swap ? p->flow_dst : p->flow_src;
	f->b = swap ? p->flow_src : p->flow_dst;
	f->a_port = swap ? p->flow_dport : p->flow_sport;
	f->b_port = swap ? p->flow_sport : p->flow_dport;
	f->protocol = p->protocol;
}

static __always_inline int goes_via_stack(const struct packet *p)
{
	struct flow f = {};

	if (!(p->flags & PACKET_FLOW))
		return 0;
	flow_key(p, &f);
	return bpf_map_lookup_elem(&fl_via_stack, &f) != 0;
}

/* lookup_range finds the node whose pods have an address. */
static __always_inline struct range *lookup_range(const struct address *a)
{
	struct range_key key = { .prefixlen = 128, .address = *a };

	return bpf_map_lookup_elem(&fl_ranges, &key);
}

static __always_inline int is_pod(const struct address *a)
{
	struct range *r;

	if (bpf_map_lookup_elem(&fl_endpoints, a))
		return 1;
	r = lookup_range(a);
	return r && !(r->flags & RANGE_LOCAL);
}

/* note_via_stack remembers the flow of a packet that comes out of the stack, when its
 * source is a pod. The lookup keeps a row that is in use from being evicted, and saves
 * the write. */
static __always_inline void note_via_stack(const struct packet *p)
{
	struct flow_note note = { .noted = 1 };
	struct flow f = {};

	if (!(p->flags & PACKET_FLOW) || (p->flags & PACKET_ICMP_ERROR) || !is_pod(&p->src))
		return;
	flow_key(p, &f);
	if (!bpf_map_lookup_elem(&fl_via_stack, &f))
		bpf_map_update_elem(&fl_via_stack, &f, &note, BPF_ANY);
}
