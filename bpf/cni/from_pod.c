/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What a pod sends, met where it enters the host (tcx ingress of the veth's host end). */
#define THIS_HOOK HOOK_FROM_POD
#include "forward.h"
#include "neighbour.h"
#include "next_hop.h"
#include "policy.h"
#include "quick.h"
#include "service_packet.h"
#include "via_stack.h"

/* Ways that decide() finds, beside the actions of tc, which are not negative. */
enum way {
	WAY_POD = -17, /* to a pod of this node */
	WAY_NODE = -18, /* to another node */
};

/* IP and TCP headers at their longest, for packets whose own are not known. */
#define LONGEST_HEADERS 120

/* admit parses a packet into the work: UNDECIDED when the pod may send it. */
static __always_inline int admit(struct __sk_buff *skb)
{
	struct work *w = work();

	if (!w)
		return TC_ACT_SHOT;
	if (parse(skb, &w->packet) < 0)
		return drop(skb, HOOK_FROM_POD, REASON_DROP_TRUNCATED);
	if (is_multicast(&w->packet.dst))
		return drop(skb, HOOK_FROM_POD, REASON_DROP_MULTICAST);
	if (!owns(skb, &w->packet.src))
		return drop(skb, HOOK_FROM_POD, REASON_DROP_SOURCE);
	return UNDECIDED;
}

/* decide finds the way of a packet for which none is remembered. */
static __noinline int decide(struct __sk_buff *skb, const struct packet *p, struct course *c, struct ends *e)
{
	struct endpoint *ep;
	struct range *r = 0;

	ep = bpf_map_lookup_elem(&fl_endpoints, &p->dst);
	if (!ep) {
		r = lookup_range(&p->dst);
		/* The host, services, the outside; the stack also says that an address
		 * of our own range is unreachable. */
		if (!r || (r->flags & RANGE_LOCAL))
			return pass(skb, HOOK_FROM_POD, REASON_STACK);
	}
	/* All fragments of a packet must take one way, and only the first has ports. */
	if (p->flags & PACKET_FRAGMENT)
		return pass(skb, HOOK_FROM_POD, REASON_FRAGMENT);
	if (goes_via_stack(p))
		return pass(skb, HOOK_FROM_POD, REASON_VIA_STACK);
	c->path.flags = 0;
	if (ep) {
		pod_path(&c->path, ep);
		return WAY_POD;
	}
	if (exceeds(skb, c->connection ? c->packet.headers : LONGEST_HEADERS, r->mtu))
		return pass(skb, HOOK_FROM_POD, REASON_TOO_BIG);
	c->path.kind = r->flags & RANGE_NATIVE ? PATH_NATIVE : PATH_TUNNEL;
	c->path.mtu = r->mtu;
	c->remote = r->tunnel;
	e->src = p->src;
	e->dst = p->dst;
	return WAY_NODE;
}

/* remember_opener notes who opened a connection whose way cannot be remembered yet: else the
 * answer, whose way can, would be taken for its first packet. */
static __always_inline void remember_opener(struct course *c)
{
	__u8 kind = c->path.kind;

	if (c->verdict)
		return; /* judge has noted it */
	c->path.kind = PATH_NONE;
	remember(c);
	c->path.kind = kind;
}

/* start_to_node sends a packet to another node for which no way is remembered. */
static __always_inline int start_to_node(struct __sk_buff *skb, struct course *c, const struct ends *e)
{
	switch (ask_next_hop(skb, c, e)) {
	case HOP_FOUND:
		remember(c);
		break;
	case HOP_UNRESOLVED:
		remember_opener(c);
		break;
	default:
		if (c->path.kind == PATH_TUNNEL) {
			remember_opener(c);
			return to_device(skb, HOOK_FROM_POD, &c->remote);
		}
		return pass(skb, HOOK_FROM_POD, REASON_STACK);
	}
	return to_node(skb, HOOK_FROM_POD, c, HOP_ASK);
}

/* known_way sends a packet whose way is remembered, and returns UNDECIDED for others. */
static __always_inline int known_way(struct __sk_buff *skb, struct course *c)
{
	__u32 known = find_path(c);

	if (known == NO_ROW || c->path.from != skb->ifindex)
		return UNDECIDED;
	if (c->path.kind == PATH_POD) {
		saw(known, c);
		return to_pod_peer(skb, HOOK_FROM_POD, &c->path);
	}
	if (c->path.checked != c->now || exceeds(skb, c->packet.headers, c->path.mtu))
		return UNDECIDED;
	saw(known, c);
	return to_node(skb, HOOK_FROM_POD, c, HOP_KNOWN);
}

SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct state *s = shared_state();
	struct course c = {};
	struct work *w;
	int action;

	if (!s)
		return TC_ACT_SHOT;
	/* The kernel keeps a tag apart from the packet, and would put it on the tunnel packet:
	 * the pod would choose a VLAN of the uplink. */
	if (skb->vlan_present)
		return drop(skb, HOOK_FROM_POD, REASON_DROP_PROTOCOL);
	if (quick_parse(data + ETH_HLEN, end, skb->protocol, &c.packet) == 0) {
		set_course(&c, s);
		action = known_way(skb, &c);
		if (action != UNDECIDED)
			return action;
	} else if (skb->protocol == bpf_htons(ETH_P_ARP)) {
		return answer_arp(skb);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6) && nd_type(skb)) {
		return answer_nd(skb);
	} else if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6)) {
		return drop(skb, HOOK_FROM_POD, REASON_DROP_PROTOCOL);
	}
	w = work();
	if (!w)
		return TC_ACT_SHOT;
	action = admit(skb);
	if (action == UNDECIDED && cfg_services)
		action = service(skb);
	if (action == UNDECIDED)
		action = police(skb, 0);
	if (action != UNDECIDED)
		return action;
	c.verdict = w->judged.course.verdict;
	action = decide(skb, &w->packet, &c, &w->before);
	c.path.from = skb->ifindex;
	c.path.checked = c.now;
	if (action == WAY_NODE)
		return start_to_node(skb, &c, &w->before);
	if (action != WAY_POD)
		return action;
	remember(&c);
	return to_pod_peer(skb, HOOK_FROM_POD, &c.path);
}

char _license[] SEC("license") = "GPL";
