/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Tells the agent of packets that were dropped, as long as they are not many. */
#pragma once
#include "clock.h"
#include "maps.h"
#include "parse.h"

/* How many drops each CPU tells of in a tick, for each hook. All are counted. */
#define EVENTS_PER_TICK 128

/* It is more than should be on the stack of whoever drops. */
struct events {
	struct drop_event event;
	union {
		struct iphdr ip4;
		struct ipv6hdr ip6;
	};
	__u32 tick;
	__u32 told; /* in the tick */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct events);
} fl_events SEC(".maps");

static __always_inline struct events *events(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&fl_events, &zero);
}

/* may_tell makes an empty event, unless there were too many. */
static __always_inline int may_tell(struct events *e, struct __sk_buff *skb, enum hook hook, enum reason reason)
{
	__u32 now = tick();

	if (e->tick != now) {
		e->tick = now;
		e->told = 0;
	}
	if (e->told >= EVENTS_PER_TICK)
		return 0;
	e->told++;
	e->event = (struct drop_event){ .hook = hook, .reason = reason, .length = skb->len };
	return 1;
}

static __always_inline void tell(struct events *e)
{
	bpf_ringbuf_output(&fl_drops, &e->event, sizeof(e->event), 0);
}

/* read_ends fills in what stands in a packet that is hardly cut. */
static __always_inline void read_ends(struct __sk_buff *skb, struct events *e)
{
	struct drop_event *d = &e->event;

	if (skb->protocol == bpf_htons(ETH_P_IP) && bpf_skb_load_bytes(skb, ETH_HLEN, &e->ip4, sizeof(e->ip4)) == 0) {
		map_ipv4(&d->src, e->ip4.saddr);
		map_ipv4(&d->dst, e->ip4.daddr);
		d->protocol = e->ip4.protocol;
		if (e->ip4.ihl_version == 0x45 && has_ports(d->protocol))
			bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(e->ip4), &d->sport, 4);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6) && bpf_skb_load_bytes(skb, ETH_HLEN, &e->ip6, sizeof(e->ip6)) == 0) {
		copy_address(&d->src, e->ip6.saddr);
		copy_address(&d->dst, e->ip6.daddr);
		d->protocol = e->ip6.nexthdr;
		if (has_ports(d->protocol))
			bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(e->ip6), &d->sport, 4);
	}
}

/* report tells of a drop. */
__noinline int report(struct __sk_buff *skb, __u32 hook, __u32 reason)
{
	struct events *e = events();

	if (e && may_tell(e, skb, hook, reason)) {
		read_ends(skb, e);
		tell(e);
	}
	return 0;
}
