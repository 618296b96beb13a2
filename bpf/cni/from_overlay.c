/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What other nodes send through the tunnel (tcx ingress of the tunnel device). */
#include "flow.h"
#include "forward.h"

/* to_stack lets the stack have the packet; its MAC address is nobody's, so the stack must
 * be told that it is meant. */
static __always_inline int to_stack(struct __sk_buff *skb, enum reason reason)
{
	bpf_skb_change_type(skb, PACKET_HOST);
	return pass(skb, HOOK_FROM_OVERLAY, reason);
}

SEC("tc")
int from_overlay(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key = {};
	struct packet p = {};
	struct endpoint *ep;
	struct range *from, *to;

	/* Whether the outer packet is IPv4 or IPv6 is not known before; the flag must fit. */
	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0) < 0 &&
	    bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6) < 0)
		return drop(skb, HOOK_FROM_OVERLAY, REASON_DROP_VNI);
	if (key.tunnel_id != cfg_vni)
		return drop(skb, HOOK_FROM_OVERLAY, REASON_DROP_VNI);
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return drop(skb, HOOK_FROM_OVERLAY, REASON_DROP_PROTOCOL);
	if (parse(skb, &p) < 0)
		return drop(skb, HOOK_FROM_OVERLAY, REASON_DROP_TRUNCATED);
	if (is_multicast(&p.dst))
		return drop(skb, HOOK_FROM_OVERLAY, REASON_DROP_MULTICAST);
	from = lookup_range(&p.src);
	if (from && (from->flags & RANGE_LOCAL))
		return drop(skb, HOOK_FROM_OVERLAY, REASON_DROP_SOURCE);

	ep = bpf_map_lookup_elem(&fl_endpoints, &p.dst);
	if (!ep) {
		to = lookup_range(&p.dst);
		/* Our router address, or an address that the stack calls unreachable. */
		if (to && (to->flags & RANGE_LOCAL))
			return to_stack(skb, REASON_STACK);
		return drop(skb, HOOK_FROM_OVERLAY, REASON_DROP_NOT_HERE);
	}
	/* The answer to a source that is no pod goes through the stack, which must then
	 * have seen the question. */
	if (!from)
		return to_stack(skb, REASON_STACK);
	if (p.flags & PACKET_FRAGMENT)
		return to_stack(skb, REASON_FRAGMENT);
	if (goes_via_stack(&p))
		return to_stack(skb, REASON_VIA_STACK);
	/* Newer kernels do this themselves on the way to the peer. */
	if (bpf_skb_change_type(skb, PACKET_HOST) < 0)
		return drop(skb, HOOK_FROM_OVERLAY, REASON_DROP_KERNEL);
	return to_pod_peer(skb, HOOK_FROM_OVERLAY, ep);
}

char _license[] SEC("license") = "GPL";
