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
