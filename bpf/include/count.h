/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
#pragma once
#include "event.h"
#include "maps.h"

static __always_inline void count(struct __sk_buff *skb, enum hook hook, enum reason reason)
{
	__u32 index = hook * REASON_SLOTS + reason;
	struct counter *c = bpf_map_lookup_elem(&fl_metrics, &index);

	if (!c)
		return;
	c->packets++;
	c->bytes += skb->len;
}

static __always_inline int drop(struct __sk_buff *skb, enum hook hook, enum reason reason)
{
	count(skb, hook, reason);
	report(skb, hook, reason);
	return TC_ACT_SHOT;
}

/* What becomes of packets that are left to the stack: other programs and filters on the
 * device see them first. TC_ACT_OK would end the way through them here. */
#define TO_OTHERS TC_ACT_UNSPEC

/* What a function says instead of an action while there is none; no action has this value. */
#define UNDECIDED (-16)

static __always_inline int pass(struct __sk_buff *skb, enum hook hook, enum reason reason)
{
	count(skb, hook, reason);
	return TO_OTHERS;
}
