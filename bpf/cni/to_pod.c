/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the host's stack sends to a pod (tcx egress of the veth's host end). Packets that
 * bypass the stack do not come here. */
#define THIS_HOOK HOOK_TO_POD
#include "count.h"
#include "policy.h"
#include "service_packet.h"
#include "via_stack.h"

SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	struct work *w = work();
	int action;

	if (!w)
		return TC_ACT_SHOT;
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return pass(skb, HOOK_TO_POD, REASON_OTHER);
	if (parse(skb, &w->packet) < 0)
		return drop(skb, HOOK_TO_POD, REASON_DROP_TRUNCATED);
	if (cfg_services && answer_back(skb))
		return pass(skb, HOOK_TO_POD, REASON_SERVICE_REPLY);
	note_via_stack(&w->packet);
	/* What comes back by the device that it came in by is our own answer to the pod. */
	action = police(skb, !skb->ingress_ifindex || skb->ingress_ifindex == skb->ifindex);
	if (action != UNDECIDED)
		return action;
	return pass(skb, HOOK_TO_POD, REASON_DELIVERED);
}

char _license[] SEC("license") = "GPL";
