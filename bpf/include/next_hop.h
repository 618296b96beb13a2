/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Where the kernel's routes lead to. Only the first packet of a connection and one in each
 * tick ask; the answer is part of the connection's path. So a next hop that gets another
 * MAC address, or goes away, is noticed within a tick without anybody's help. */
#pragma once
#include "config.h"
#include "connection.h"
#include "helpers.h"

/* The addresses of a packet. */
struct ends {
	struct address src;
	struct address dst;
};

enum hop_answer {
	HOP_NONE, /* no route, or not by Ethernet: the stack knows better */
	HOP_UNRESOLVED, /* the device is known, the MAC address is not yet */
	HOP_FOUND,
};

/* ask_route fills the path's device and MAC addresses for packets from src to dst that came
 * in here, or with BPF_FIB_LOOKUP_OUTPUT for the node's own that leave by the uplink. */
static __noinline enum hop_answer ask_route(struct __sk_buff *skb, const struct address *src,
					    const struct address *dst, __u32 flags, struct path *p)
{
	struct bpf_fib_lookup fib = { .ifindex = flags ? cfg_uplink_ifindex : skb->ifindex };
	long answer;

	if (is_ipv4(dst)) {
		fib.family = AF_INET;
		fib.ipv4_src = src->word[3];
		fib.ipv4_dst = dst->word[3];
	} else {
		fib.family = AF_INET6;
		for (int i = 0; i < 4; i++) {
			fib.ipv6_src[i] = src->word[i];
			fib.ipv6_dst[i] = dst->word[i];
		}
	}
	answer = bpf_fib_lookup(skb, &fib, sizeof(fib), flags);
	if (answer != BPF_FIB_LKUP_RET_SUCCESS && answer != BPF_FIB_LKUP_RET_NO_NEIGH)
		return HOP_NONE;
	p->ifindex = fib.ifindex;
	if (answer == BPF_FIB_LKUP_RET_NO_NEIGH)
		return HOP_UNRESOLVED;
	__builtin_memcpy(p->to_mac, fib.dmac, 6);
	__builtin_memcpy(p->from_mac, fib.smac, 6);
	return HOP_FOUND;
}

/* ask_next_hop fills in where packets to another node go on, by the kind of the path. */
static __always_inline enum hop_answer ask_next_hop(struct __sk_buff *skb, struct course *c, const struct ends *e)
{
	struct address own;

	if (c->path.kind == PATH_NATIVE)
		return ask_route(skb, &e->src, &e->dst, 0, &c->path);
	if (!cfg_uplink_ifindex)
		return HOP_NONE;
	for (int i = 0; i < 4; i++)
		own.word[i] = cfg_tunnel_address[i];
	return ask_route(skb, &own, &c->remote, BPF_FIB_LOOKUP_OUTPUT, &c->path);
}
