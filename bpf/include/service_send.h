/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* How a packet of a Service goes on once it is known with which addresses. */
#pragma once
#include "answer.h"
#include "forward.h"
#include "next_hop.h"
#include "policy.h"
#include "range.h"
#include "translate.h"
#include "translation.h"

/* What a step says that leaves the rest to the next one. */
enum {
	TO_SEND = -22, /* by the work's row */
	TO_REFUSE = -23,
	TO_NODE = -24, /* that has the range in the work's course */
	TO_TUNNEL = -25,
	TO_LEAVE = -26, /* by the kernel's routes */
};

static __always_inline enum reason service_reason(const struct work *w)
{
	if (w->row.flags & TRANSLATION_FORWARD)
		return REASON_SERVICE_HANDED_ON;
	return w->row.flags & TRANSLATION_REPLY ? REASON_SERVICE_REPLY : REASON_SERVICE;
}

/* age takes one from the hop limit of what leaves for outside, so that a backend that is a
 * Service's address on another node cannot send a packet round for ever. It says whether
 * anything was left. */
static __always_inline int age(struct __sk_buff *skb, int v4)
{
	__u32 at = ETH_HLEN + (v4 ? 8 : 7);
	__u8 limit[2];
	__be16 before, after;

	if (bpf_skb_load_bytes(skb, at, limit, sizeof(limit)) < 0 || limit[0] <= 1)
		return 0;
	before = limit[0] | limit[1] << 8;
	limit[0]--;
	after = limit[0] | limit[1] << 8;
	if (v4 && bpf_l3_csum_replace(skb, ETH_HLEN + 10, before, after, 2) < 0)
		return 0;
	return bpf_skb_store_bytes(skb, at, limit, 1, 0) == 0;
}

/* leave sends the packet to where the kernel's routes lead. The kernel writes the MAC addresses, and
 * asks for them where they are not known. They are written before all the same: where a sum of the
 * whole packet was taken, the kernel counts in those that it finds and not those that it writes. */
__noinline int leave(struct __sk_buff *skb)
{
	struct work *w = work();

	if (!w)
		return TC_ACT_SHOT;
	switch (ask_route(skb, &w->row.src, &w->row.dst, 0, &w->course.path)) {
	case HOP_NONE:
		return drop(skb, THIS_HOOK, REASON_DROP_UNROUTED);
	case HOP_FOUND:
		if (set_macs(skb, &w->course.path) < 0)
			return drop(skb, THIS_HOOK, REASON_DROP_KERNEL);
		break;
	case HOP_UNRESOLVED:
		break;
	}
	skb->tc_index = PAST_THE_STACK;
	count(skb, THIS_HOOK, service_reason(w));
	return bpf_redirect_neigh(w->course.path.ifindex, 0, 0, 0);
}

/* through_tunnel sends the packet to another node. */
__noinline int through_tunnel(struct __sk_buff *skb)
{
	struct work *w = work();
	struct address own;
	struct course *c;

	if (!w)
		return TC_ACT_SHOT;
	c = &w->course;
	for (int i = 0; i < 4; i++)
		own.word[i] = cfg_tunnel_address[i];
	count(skb, THIS_HOOK, service_reason(w));
	/* The device can cut up what is too large. It also serves where the uplink is unknown. */
	if (exceeds(skb, w->headers, c->path.mtu) || !cfg_uplink_ifindex ||
	    ask_route(skb, &own, &c->remote, BPF_FIB_LOOKUP_OUTPUT, &c->path) == HOP_NONE ||
	    add_outer(skb, &c->path, &c->remote, tunnel_source_port(c->hash), w->packet.ecn) < 0)
		return to_device(skb, THIS_HOOK, &c->remote);
	skb->tc_index = PAST_THE_STACK;
	return bpf_redirect_neigh(c->path.ifindex, 0, 0, 0);
}

/* to_stack_with gives the packet to the host's stack. */
static __always_inline int to_stack_with(struct __sk_buff *skb, enum reason reason)
{
	if (THIS_HOOK == HOOK_FROM_OVERLAY)
		bpf_skb_change_type(skb, PACKET_HOST); /* its MAC address is nobody's */
	return pass(skb, THIS_HOOK, reason);
}

/* may_exceed says whether a packet that is too large gets there in pieces all the same: routers cut
 * up what may be, and so does the tunnel device with its own packets, but not over IPv6; who
 * sends such packets learns from an answer too. Errors are never answered. */
static __always_inline int may_exceed(const struct work *w, __u32 native)
{
	if (w->packet.flags & PACKET_ICMP_ERROR)
		return 1;
	return (w->packet.flags & PACKET_MAY_BE_CUT) && (native || !cfg_tunnel_ipv6);
}

/* to_other_node sends the packet to the node that has a range of pods. */
__noinline int to_other_node(struct __sk_buff *skb)
{
	struct work *w = work();
	__u32 mtu, native;

	if (!w)
		return TC_ACT_SHOT;
	mtu = w->course.path.mtu;
	native = w->course.path.kind == PATH_NATIVE;
	if (w->row.flags & TRANSLATION_FORWARD) {
		if (native)
			mtu -= cfg_tunnel_ipv6 ? OVERHEAD6 : OVERHEAD4;
		native = 0;
	}
	if (exceeds(skb, w->headers, mtu) && !may_exceed(w, native))
		return say_size(skb, mtu);
	w->course.path.mtu = mtu;
	w->course.hash = w->key.sport << 16 ^ w->key.dport << 13 ^ w->key.src.word[3];
	if (!(w->row.flags & TRANSLATION_FORWARD) && rewrite(skb) < 0)
		return drop(skb, THIS_HOOK, REASON_DROP_KERNEL);
	return native ? TO_LEAVE : TO_TUNNEL;
}

/* to_pod_here gives the packet to a pod of this node. */
static __noinline int to_pod_here(struct __sk_buff *skb, const struct endpoint *ep)
{
	struct work *w = work();

	if (!w)
		return TC_ACT_SHOT;
	pod_path(&w->course.path, ep);
	/* Newer kernels do this themselves on the way to the peer. */
	if (rewrite(skb) < 0 || (THIS_HOOK == HOOK_FROM_OVERLAY && bpf_skb_change_type(skb, PACKET_HOST) < 0) ||
	    set_macs(skb, &w->course.path) < 0)
		return drop(skb, THIS_HOOK, REASON_DROP_KERNEL);
	count(skb, THIS_HOOK, service_reason(w));
	return bpf_redirect_peer(w->course.path.ifindex, 0);
}

/* send_on sends the work's packet on by its row. */
__noinline int send_on(struct __sk_buff *skb)
{
	struct work *w = work();
	struct endpoint *ep;
	struct range *r;
	int action;

	if (!w)
		return TC_ACT_SHOT;
	if (!(w->row.flags & TRANSLATION_FORWARD)) {
		action = police_translated(skb);
		if (action != UNDECIDED)
			return action;
	}
	ep = bpf_map_lookup_elem(&fl_endpoints, &w->row.dst);
	if (ep && !(w->row.flags & TRANSLATION_FORWARD))
		return to_pod_here(skb, ep);
	r = lookup_range(&w->row.dst);
	if (r && !(r->flags & RANGE_LOCAL)) {
		w->course.remote = r->tunnel;
		w->course.path.mtu = r->mtu;
		w->course.path.kind = r->flags & RANGE_NATIVE ? PATH_NATIVE : PATH_TUNNEL;
		return TO_NODE;
	}
	if (r || (w->row.flags & TRANSLATION_FORWARD))
		return drop(skb, THIS_HOOK, REASON_DROP_UNROUTED); /* a pod that is no more */
	if (!(w->row.flags & TRANSLATION_REPLY) && is_router(&w->row.src))
		return drop(skb, THIS_HOOK, REASON_DROP_UNROUTED); /* a pod of a node that is not known (yet) */
	if (rewrite(skb) < 0)
		return drop(skb, THIS_HOOK, REASON_DROP_KERNEL);
	/* The stack masquerades what pods send to backends outside. */
	if (is_node_address(&w->row.dst) || (THIS_HOOK == HOOK_FROM_POD && !(w->row.flags & TRANSLATION_REPLY)))
		return to_stack_with(skb, service_reason(w));
	if (!(w->row.flags & TRANSLATION_REPLY) && !age(skb, is_ipv4(&w->row.dst)))
		return drop(skb, THIS_HOOK, REASON_DROP_UNROUTED);
	return TO_LEAVE;
}
