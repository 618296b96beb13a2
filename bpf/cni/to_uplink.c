/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the host's stack sends by the uplink (tcx egress; with native routing or Services): flows
 * to pods of other nodes without a tunnel are noted, answers of Services' backends on the
 * host itself are translated. */
#define THIS_HOOK HOOK_TO_UPLINK
#include "forward.h"
#include "policy.h"
#include "service_packet.h"
#include "via_stack.h"

SEC("tc")
int to_uplink(struct __sk_buff *skb)
{
	struct work *w = work();
	struct range *r;
	int action;

	if (skb->tc_index == PAST_THE_STACK) {
		skb->tc_index = 0;
		return TO_OTHERS;
	}
	/* What the host itself sends belongs to no pod. */
	if (!skb->ingress_ifindex && !cfg_services)
		return TO_OTHERS;
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return TO_OTHERS;
	if (!w || parse(skb, &w->packet) < 0)
		return skb->mark & MARK_DEFERRED ? TC_ACT_SHOT : TO_OTHERS;
	action = police_leaving(skb);
	if (action != UNDECIDED)
		return action;
	if (!skb->ingress_ifindex)
		return answer_back(skb) ? pass(skb, HOOK_TO_UPLINK, REASON_SERVICE_REPLY) : TO_OTHERS;
	r = lookup_range(&w->packet.dst);
	if (!r || (r->flags & RANGE_LOCAL))
		return TO_OTHERS;
	note_via_stack(&w->packet);
	return pass(skb, HOOK_TO_UPLINK, REASON_NATIVE);
}

char _license[] SEC("license") = "GPL";
