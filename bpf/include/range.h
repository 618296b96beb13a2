/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Whose an address is. */
#pragma once
#include "config.h"
#include "flow.h"
#include "maps.h"

/* lookup_range finds the node whose pods have an address. */
static __always_inline struct range *lookup_range(const struct address *a)
{
	struct range_key key = { .prefixlen = 128, .address = *a };

	return bpf_map_lookup_elem(&fl_ranges, &key);
}

/* is_router says whether an address is that of this node's router. */
static __always_inline int is_router(const struct address *a)
{
	if (is_ipv4(a))
		return a->word[3] == cfg_gateway4;
	return a->word[0] == cfg_gateway6[0] && a->word[1] == cfg_gateway6[1] && a->word[2] == cfg_gateway6[2] &&
	       a->word[3] == cfg_gateway6[3];
}

/* is_pod says whether an address is that of a pod, here or on another node. */
static __always_inline int is_pod(const struct address *a)
{
	struct range *r;

	if (bpf_map_lookup_elem(&fl_endpoints, a))
		return 1;
	r = lookup_range(a);
	return r && !(r->flags & RANGE_LOCAL);
}

/* owns says whether the packet's interface is that of the pod with an address. */
static __always_inline int owns(struct __sk_buff *skb, const struct address *a)
{
	struct endpoint *ep = bpf_map_lookup_elem(&fl_endpoints, a);

	return ep && ep->ifindex == skb->ifindex;
}
