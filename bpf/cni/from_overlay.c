/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What other nodes send through the tunnel, as the tunnel device hands it on (tcx ingress
 * of that device): first packets of connections, and whatever from_uplink does not take. */
#define THIS_HOOK HOOK_FROM_OVERLAY
#include "forward.h"
#include "policy.h"
#include "quick.h"
#include "service_packet.h"
#include "via_stack.h"

/* to_stack lets the stack have the packet; its MAC address is nobody's, so the stack must
 * be told that it is meant. */
static __always_inline int to_stack(struct __sk_buff *skb, enum reason reason)
{
	bpf_skb_change_type(skb, PACKET_HOST);
	return pass(skb, HOOK_FROM_OVERLAY, reason);
}

/* sender fills a with the other end of the tunnel. */
static __noinline int sender(struct __sk_buff *skb, struct address *a)
{
	struct bpf_tunnel_key key = {};

	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), cfg_tunnel_ipv6 ? BPF_F_TUNINFO_IPV6 : 0) < 0 ||
	    key.tunnel_id != cfg_vni)
		return -1;
	if (cfg_tunnel_ipv6)
		copy_address(a, key.remote_ipv6);
	else
		map_ipv4(a, bpf_htonl(key.remote_ipv4));
	return 0;
}

/* is_stranger says whether a tunnel packet comes from another node than its source
 * address does. A source that is no pod may be any node's. */
static __always_inline int is_stranger(const struct address *sender, const struct range *from)
{
	if (from)
		return !same_address(sender, &from->tunnel);
	return bpf_map_lookup_elem(&fl_peers, sender) == 0;
}

/* keep remembers the way of a packet to a pod, for when the next one meets from_uplink. */
static __noinline void keep(struct __sk_buff *skb, struct course *c, const struct state *s)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 epoch = c->epoch;

	if (!cfg_uplink_ifindex || quick_parse(data + ETH_HLEN, end, skb->protocol, &c->packet) < 0)
		return;
	set_course(c, s);
	c->epoch = epoch; /* that of before the rows were looked at */
	c->path.from = cfg_uplink_ifindex;
	c->path.flags = PATH_FROM_TUNNEL;
	remember(c);
}

/* admit parses a packet into the work: UNDECIDED when the other node may send it. */
static __always_inline int admit(struct __sk_buff *skb)
{
	struct work *w = work();
	struct range *from;

	if (!w)
		return TC_ACT_SHOT;
	if (parse(skb, &w->packet) < 0)
		return drop(skb, HOOK_FROM_OVERLAY, REASON_DROP_TRUNCATED);
	if (is_multicast(&w->packet.dst))
		return drop(skb, HOOK_FROM_OVERLAY, REASON_DROP_MULTICAST);
	from = lookup_range(&w->packet.src);
	if (from && (from->flags & RANGE_LOCAL))
		return drop(skb, HOOK_FROM_OVERLAY, REASON_DROP_SOURCE);
	if (is_stranger(&w->course.remote, from))
		return drop(skb, HOOK_FROM_OVERLAY, REASON_DROP_STRANGER);
	return UNDECIDED;
}

/* decide finds out about a packet: UNDECIDED when it is to the pod that the path says. */
static __noinline int decide(struct __sk_buff *skb, const struct packet *p, struct course *c)
{
	struct range *to;
	struct endpoint *ep;

	ep = bpf_map_lookup_elem(&fl_endpoints, &p->dst);
	if (!ep) {
		to = lookup_range(&p->dst);
		/* Our router address, or an address that the stack calls unreachable. */
		if (to && (to->flags & RANGE_LOCAL))
			return to_stack(skb, REASON_STACK);
		return drop(skb, HOOK_FROM_OVERLAY, REASON_DROP_NOT_HERE);
	}
	/* The answer to a source that is no pod goes through the stack, which must then
	 * have seen the question. */
	if (!lookup_range(&p->src))
		return to_stack(skb, REASON_STACK);
	if (p->flags & PACKET_FRAGMENT)
		return to_stack(skb, REASON_FRAGMENT);
	if (goes_via_stack(p))
		return to_stack(skb, REASON_VIA_STACK);
	pod_path(&c->path, ep);
	return UNDECIDED;
}

SEC("tc")
int from_overlay(struct __sk_buff *skb)
{
	struct state *s = shared_state();
	struct work *w = work();
	int action;

	if (!s || !w)
		return TC_ACT_SHOT;
	w->course = (struct course){};
	w->course.epoch = READ_ONCE(s->epoch);
	if (sender(skb, &w->course.remote) < 0)
		return drop(skb, HOOK_FROM_OVERLAY, REASON_DROP_VNI);
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return drop(skb, HOOK_FROM_OVERLAY, REASON_DROP_PROTOCOL);
	action = admit(skb);
	if (action == UNDECIDED && cfg_services) {
		/* The service's steps use the course. */
		struct address remote = w->course.remote;
		__u32 epoch = w->course.epoch;

		action = service(skb);
		w->course.remote = remote;
		w->course.epoch = epoch;
	}
	if (action == UNDECIDED)
		action = police(skb, 0);
	if (action != UNDECIDED)
		return action;
	w->course.verdict = w->judged.course.verdict;
	action = decide(skb, &w->packet, &w->course);
	if (action != UNDECIDED)
		return action;
	keep(skb, &w->course, s);
	/* Newer kernels do this themselves on the way to the peer. */
	if (bpf_skb_change_type(skb, PACKET_HOST) < 0)
		return drop(skb, HOOK_FROM_OVERLAY, REASON_DROP_KERNEL);
	return to_pod_peer(skb, HOOK_FROM_OVERLAY, &w->course.path);
}

char _license[] SEC("license") = "GPL";
