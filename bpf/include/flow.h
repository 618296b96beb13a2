/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Flows: the two ends of what packets belong to, the same for both directions. */
#pragma once
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

/* flow_of fills f and returns the direction of the packet: 0 from end a to end b, else 1. */
static __always_inline __u32 flow_of(const struct address *src, const struct address *dst, __be16 sport, __be16 dport,
				     __u8 protocol, struct flow *f)
{
	int swap = same_address(src, dst) ? dport < sport : precedes(dst, src);

	f->a = swap ? *dst : *src;
	f->b = swap ? *src : *dst;
	f->a_port = swap ? dport : sport;
	f->b_port = swap ? sport : dport;
	f->protocol = protocol;
	f->pad[0] = f->pad[1] = f->pad[2] = 0;
	return swap;
}

static __always_inline __u32 flow_key(const struct packet *p, struct flow *f)
{
	return flow_of(&p->flow_src, &p->flow_dst, p->flow_sport, p->flow_dport, p->protocol, f);
}
