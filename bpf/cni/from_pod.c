/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What a pod sends, met where it enters the host (tcx ingress of the veth's host end). */
#include "flow.h"
#include "forward.h"
#include "neighbour.h"

SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	struct packet p = {};
	struct endpoint *ep;
	struct range *r;

	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return answer_arp(skb);
	if (skb->protocol == bpf_htons(ETH_P_IPV6) && nd_type(skb))
		return answer_nd(skb);
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return drop(skb, HOOK_FROM_POD, REASON_DROP_PROTOCOL);
	if (parse(skb, &p) < 0)
		return drop(skb, HOOK_FROM_POD, REASON_DROP_TRUNCATED);
	if (is_multicast(&p.dst))
		return drop(skb, HOOK_FROM_POD, REASON_DROP_MULTICAST);
	if (!owns(skb, &p.src))
		return drop(skb, HOOK_FROM_POD, REASON_DROP_SOURCE);

	ep = bpf_map_lookup_elem(&fl_endpoints, &p.dst);
	if (!ep) {
		r = lookup_range(&p.dst);
		/* The host, services, the outside; the stack also says that an address
		 * of our own range is unreachable. */
		if (!r || (r->flags & RANGE_LOCAL))
			return pass(skb, HOOK_FROM_POD, REASON_STACK);
	}
	/* All fragments of a packet must take one way, and only the first has ports. */
	if (p.flags & PACKET_FRAGMENT)
		return pass(skb, HOOK_FROM_POD, REASON_FRAGMENT);
	if (goes_via_stack(&p))
		return pass(skb, HOOK_FROM_POD, REASON_VIA_STACK);
	if (ep)
		return to_pod_peer(skb, HOOK_FROM_POD, ep);
	return to_tunnel(skb, HOOK_FROM_POD, r);
}

char _license[] SEC("license") = "GPL";
