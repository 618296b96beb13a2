/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the node receives on the device that its address is on (tcx ingress): packets for
 * its pods, as they are or in the tunnel. Everything else is the host's and passes. */
#define THIS_HOOK HOOK_FROM_UPLINK
#include "forward.h"
#include "policy.h"
#include "quick.h"
#include "service_packet.h"
#include "via_stack.h"

/* hand_over gives a packet that is out of its tunnel to its pod. */
static __always_inline int hand_over(struct __sk_buff *skb, const struct path *p, __be16 protocol)
{
	struct ethhdr eth;

	__builtin_memcpy(eth.h_dest, p->to_mac, 6);
	__builtin_memcpy(eth.h_source, p->from_mac, 6);
	eth.h_proto = protocol;
	if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0) < 0)
		return drop(skb, HOOK_FROM_UPLINK, REASON_DROP_KERNEL);
	count(skb, HOOK_FROM_UPLINK, REASON_LOCAL);
	return bpf_redirect_peer(p->ifindex, 0);
}

/* What from_tunnel says when a Service's packet is out of its tunnel. */
#define TAKEN_OUT (-21)

/* is_translated says whether a packet in the tunnel has a translation, and came from the node that
 * its source is on. */
static __always_inline int is_translated(const struct quick *q, const struct tunnelled *t)
{
	struct work *w = work();
	struct range *from;
	int swap = q->direction;

	if (!w)
		return 0;
	w->key.src = swap ? q->flow.b : q->flow.a;
	w->key.dst = swap ? q->flow.a : q->flow.b;
	w->key.sport = swap ? q->flow.b_port : q->flow.a_port;
	w->key.dport = swap ? q->flow.a_port : q->flow.b_port;
	w->key.protocol = q->flow.protocol;
	w->key.pad[0] = w->key.pad[1] = w->key.pad[2] = 0;
	if (!bpf_map_lookup_elem(&fl_translations, &w->key))
		return 0;
	from = lookup_range(&w->key.src);
	return from ? same_address(&t->sender, &from->tunnel) : bpf_map_lookup_elem(&fl_peers, &t->sender) != 0;
}

static __always_inline int take_out(struct __sk_buff *skb, const struct tunnelled *t)
{
	__be16 protocol = t->protocol;

	if (remove_outer(skb, protocol) < 0)
		return TO_OTHERS;
	if (bpf_skb_store_bytes(skb, ETH_HLEN - 2, &protocol, sizeof(protocol), 0) < 0)
		return drop(skb, HOOK_FROM_UPLINK, REASON_DROP_KERNEL);
	return TAKEN_OUT;
}

/* from_tunnel takes packets of known connections; the others, the tunnel device. */
static __always_inline int from_tunnel(struct __sk_buff *skb, const struct tunnelled *t)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct state *s = shared_state();
	struct course c = {};
	__u32 known;

	if (!s || quick_parse(data + inner_offset(), end, t->protocol, &c.packet) < 0)
		return TO_OTHERS;
	set_course(&c, s);
	known = find_path(&c);
	if (known == NO_ROW)
		return cfg_services && is_translated(&c.packet, t) ? take_out(skb, t) : TO_OTHERS;
	if (c.path.kind != PATH_POD || !(c.path.flags & PATH_FROM_TUNNEL) || c.path.from != skb->ifindex ||
	    !same_address(&c.remote, &t->sender))
		return TO_OTHERS;
	if (remove_outer(skb, t->protocol) < 0)
		return TO_OTHERS;
	saw(known, &c);
	return hand_over(skb, &c.path, t->protocol);
}

/* is_for_pods compares the destination with the node's ranges. */
static __always_inline int is_for_pods(struct __sk_buff *skb, __be16 protocol)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__be32 differs = 0;

	if (protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + ETH_HLEN;

		return (void *)(ip + 1) <= end && (ip->daddr & cfg_pods4_mask) == cfg_pods4;
	}
	if (protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + ETH_HLEN;

		if ((void *)(ip + 1) > end)
			return 0;
		for (int i = 0; i < 4; i++)
			differs |= (ip->daddr[i] & cfg_pods6_mask[i]) ^ cfg_pods6[i];
		return !differs;
	}
	return 0;
}

/* admit parses a packet into the work: UNDECIDED for one that may be looked at further. What is not
 * for pods the host may judge. */
static __always_inline int admit(struct __sk_buff *skb, __u32 for_pods)
{
	struct work *w = work();
	struct range *from;

	if (!w)
		return TC_ACT_SHOT;
	if (parse(skb, &w->packet) < 0)
		return for_pods ? drop(skb, HOOK_FROM_UPLINK, REASON_DROP_TRUNCATED) : TO_OTHERS;
	if (!for_pods)
		return UNDECIDED;
	from = lookup_range(&w->packet.src);
	if (from && (from->flags & RANGE_LOCAL))
		return drop(skb, HOOK_FROM_UPLINK, REASON_DROP_SOURCE);
	return UNDECIDED;
}

/* decide finds out about packets to pods whose way is not known: UNDECIDED when it is to
 * the pod. Other nodes may send natively whether or not this one does: it may be about to. */
static __noinline int decide(struct __sk_buff *skb, const struct packet *p, struct course *c)
{
	struct endpoint *ep;

	ep = bpf_map_lookup_elem(&fl_endpoints, &p->dst);
	/* Our router address, or the answer must go through the stack, which must then
	 * have seen the question. */
	if (!ep || !lookup_range(&p->src))
		return pass(skb, HOOK_FROM_UPLINK, REASON_STACK);
	if (p->flags & PACKET_FRAGMENT)
		return pass(skb, HOOK_FROM_UPLINK, REASON_FRAGMENT);
	if (goes_via_stack(p))
		return pass(skb, HOOK_FROM_UPLINK, REASON_VIA_STACK);
	pod_path(&c->path, ep);
	c->path.from = skb->ifindex;
	c->path.flags = 0;
	return UNDECIDED;
}

/* known_way sends a packet to a pod whose way is remembered: UNDECIDED for others. */
static __always_inline int known_way(struct __sk_buff *skb, struct course *c)
{
	__u32 known = find_path(c);

	if (known == NO_ROW || c->path.kind != PATH_POD || (c->path.flags & PATH_FROM_TUNNEL) || c->path.from != skb->ifindex)
		return UNDECIDED;
	saw(known, c);
	return to_pod_peer(skb, HOOK_FROM_UPLINK, &c->path);
}

static __always_inline int from_wire(struct __sk_buff *skb, __be16 protocol)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct state *s = shared_state();
	struct course c = {};
	struct work *w;
	int action;

	if (!s)
		return TC_ACT_SHOT;
	if (quick_parse(data + ETH_HLEN, end, protocol, &c.packet) == 0) {
		set_course(&c, s);
		action = known_way(skb, &c);
		if (action != UNDECIDED)
			return action;
	}
	w = work();
	if (!w)
		return TC_ACT_SHOT;
	action = admit(skb, 1);
	if (action == UNDECIDED && cfg_services)
		action = service(skb);
	if (action == UNDECIDED)
		action = police(skb, 0);
	c.verdict = w->judged.course.verdict;
	if (action == UNDECIDED)
		action = decide(skb, &w->packet, &c);
	if (action != UNDECIDED)
		return action;
	remember(&c);
	return to_pod_peer(skb, HOOK_FROM_UPLINK, &c.path);
}

/* for_host looks for packets to Services; all others are the host's. */
static __always_inline int for_host(struct __sk_buff *skb)
{
	__be16 protocol = READ_ONCE(skb->protocol);
	int action;

	if (protocol != bpf_htons(ETH_P_IP) && protocol != bpf_htons(ETH_P_IPV6))
		return TO_OTHERS;
	action = admit(skb, 0);
	if (action == UNDECIDED)
		action = service(skb);
	return action == UNDECIDED ? TO_OTHERS : action;
}

SEC("tc")
int from_uplink(struct __sk_buff *skb)
{
	/* A copy, as the compiler may otherwise read through a pointer into the context. */
	__be16 protocol = READ_ONCE(skb->protocol);
	struct tunnelled t;
	int action;

	/* What is meant for others, or for a VLAN's device. */
	if (skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return TO_OTHERS;
	if (tunnel_packet(skb, protocol, &t)) {
		action = from_tunnel(skb, &t);
		if (action != TAKEN_OUT)
			return action;
	} else if (is_for_pods(skb, protocol)) {
		return from_wire(skb, protocol);
	}
	return cfg_services ? for_host(skb) : TO_OTHERS;
}

char _license[] SEC("license") = "GPL";
