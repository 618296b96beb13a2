/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What leaves through the tunnel (tcx egress of the tunnel device): packets of from_pod,
 * which have their tunnel key, and packets of the host's stack, which get it here. */
#define THIS_HOOK HOOK_TO_OVERLAY
#include "forward.h"
#include "policy.h"
#include "via_stack.h"

SEC("tc")
int to_overlay(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key = {};
	struct work *w = work();
	struct range *r;
	int action;

	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), cfg_tunnel_ipv6 ? BPF_F_TUNINFO_IPV6 : 0) == 0)
		return TO_OTHERS; /* counted where it got the key */
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return drop(skb, HOOK_TO_OVERLAY, REASON_DROP_PROTOCOL);
	if (!w)
		return TC_ACT_SHOT;
	if (parse(skb, &w->packet) < 0)
		return drop(skb, HOOK_TO_OVERLAY, REASON_DROP_TRUNCATED);
	if (is_multicast(&w->packet.dst))
		return drop(skb, HOOK_TO_OVERLAY, REASON_DROP_MULTICAST);
	r = lookup_range(&w->packet.dst);
	if (!r || (r->flags & RANGE_LOCAL))
		return drop(skb, HOOK_TO_OVERLAY, REASON_DROP_NO_PEER);
	note_via_stack(&w->packet);
	action = police_leaving(skb);
	if (action != UNDECIDED)
		return action;
	if (set_tunnel(skb, &r->tunnel) < 0)
		return drop(skb, HOOK_TO_OVERLAY, REASON_DROP_KERNEL);
	return pass(skb, HOOK_TO_OVERLAY, REASON_TUNNEL);
}

char _license[] SEC("license") = "GPL";
