/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the host's stack sends on to pods of other nodes without a tunnel (tcx egress of the
 * uplink, native routing only): their flows are noted. */
#include "forward.h"
#include "via_stack.h"

SEC("tc")
int to_uplink(struct __sk_buff *skb)
{
	struct packet p = {};
	struct range *r;

	if (skb->tc_index == PAST_THE_STACK) {
		skb->tc_index = 0;
		return TO_OTHERS;
	}
	/* What the host itself sends belongs to no pod. */
	if (!skb->ingress_ifindex)
		return TO_OTHERS;
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return TO_OTHERS;
	if (parse(skb, &p) < 0)
		return TO_OTHERS;
	r = lookup_range(&p.dst);
	if (!r || (r->flags & RANGE_LOCAL))
		return TO_OTHERS;
	note_via_stack(&p);
	return pass(skb, HOOK_TO_UPLINK, REASON_NATIVE);
}

char _license[] SEC("license") = "GPL";
