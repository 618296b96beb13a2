/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* A pod's link has two ends, the pod and its gateway. The gateway answers for itself;
 * nothing else is asked for with reason, and nothing is passed on. */
#pragma once
#include "checksum.h"
#include "config.h"
#include "count.h"
#include "forward.h"
#include "parse.h"
#include "range.h"

struct arp_frame {
	struct ethhdr eth;
	struct arp_ipv4 arp;
} __attribute__((packed));

static __noinline int answer_arp(struct __sk_buff *skb)
{
	struct arp_frame f;
	struct address sender;

	if (bpf_skb_load_bytes(skb, 0, &f, sizeof(f)) < 0)
		return drop(skb, HOOK_FROM_POD, REASON_DROP_TRUNCATED);
	map_ipv4(&sender, f.arp.sender_ip);
	if (f.arp.ar_hrd != bpf_htons(ARPHRD_ETHER) || f.arp.ar_pro != bpf_htons(ETH_P_IP) ||
	    f.arp.ar_op != bpf_htons(ARPOP_REQUEST) || cfg_gateway4 == 0 || f.arp.target_ip != cfg_gateway4)
		return drop(skb, HOOK_FROM_POD, REASON_DROP_NEIGHBOUR);
	if (!owns(skb, &sender))
		return drop(skb, HOOK_FROM_POD, REASON_DROP_SOURCE);

	f.arp.ar_op = bpf_htons(ARPOP_REPLY);
	__builtin_memcpy(f.arp.target_mac, f.arp.sender_mac, 6);
	f.arp.target_ip = f.arp.sender_ip;
	f.arp.sender_ip = cfg_gateway4;
	set_router_mac(f.arp.sender_mac);
	__builtin_memcpy(f.eth.h_dest, f.arp.target_mac, 6);
	set_router_mac(f.eth.h_source);
	if (bpf_skb_store_bytes(skb, 0, &f, sizeof(f), 0) < 0)
		return drop(skb, HOOK_FROM_POD, REASON_DROP_KERNEL);
	count(skb, HOOK_FROM_POD, REASON_ARP_REPLY);
	return bpf_redirect(skb->ifindex, 0);
}

static __always_inline __sum16 nd_checksum(const struct ipv6hdr *ip, struct nd_msg *nd)
{
	struct pseudo6 ps = { .length = bpf_htonl(sizeof(*nd)), .nexthdr = bpf_htonl(IPPROTO_ICMPV6) };
	__s64 sum;

	for (int i = 0; i < 4; i++) {
		ps.saddr[i] = ip->saddr[i];
		ps.daddr[i] = ip->daddr[i];
	}
	sum = bpf_csum_diff(0, 0, (__be32 *)&ps, sizeof(ps), 0);
	sum = bpf_csum_diff(0, 0, (__be32 *)nd, sizeof(*nd), sum);
	return fold(sum);
}

struct nd_frame {
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct nd_msg nd;
} __attribute__((packed));

/* A solicitation without its option; the option is not needed to answer. */
#define ND_SOLICIT_LENGTH (sizeof(struct nd_frame) - 8)

/* nd_type returns the type of a neighbour discovery message, or 0. */
static __always_inline __u8 nd_type(struct __sk_buff *skb)
{
	__u8 nexthdr, type;

	if (bpf_skb_load_bytes(skb, ETH_HLEN + 6, &nexthdr, 1) < 0 || nexthdr != IPPROTO_ICMPV6)
		return 0;
	if (bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(struct ipv6hdr), &type, 1) < 0)
		return 0;
	return type >= ICMPV6_ND_FIRST && type <= ICMPV6_ND_LAST ? type : 0;
}

static __always_inline int asks_for_gateway(const struct nd_frame *f)
{
	return f->nd.type == ICMPV6_ND_SOLICIT && f->nd.code == 0 && f->ip.hop_limit == 255 &&
	       cfg_gateway6[0] != 0 && f->nd.target[0] == cfg_gateway6[0] && f->nd.target[1] == cfg_gateway6[1] &&
	       f->nd.target[2] == cfg_gateway6[2] && f->nd.target[3] == cfg_gateway6[3];
}

static __noinline int answer_nd(struct __sk_buff *skb)
{
	struct nd_frame f = {};
	struct address sender;
	struct ipv6hdr ip = {};
	struct nd_msg nd = {};

	if (bpf_skb_load_bytes(skb, 0, &f, ND_SOLICIT_LENGTH) < 0)
		return drop(skb, HOOK_FROM_POD, REASON_DROP_TRUNCATED);
	if (!asks_for_gateway(&f))
		return drop(skb, HOOK_FROM_POD, REASON_DROP_NEIGHBOUR);
	for (int i = 0; i < 4; i++)
		sender.word[i] = f.ip.saddr[i];
	if (!is_link_local6(&sender) && !owns(skb, &sender))
		return drop(skb, HOOK_FROM_POD, REASON_DROP_SOURCE);

	ip.version_class_flow = bpf_htonl(0x60000000);
	ip.payload_len = bpf_htons(sizeof(nd));
	ip.nexthdr = IPPROTO_ICMPV6;
	ip.hop_limit = 255;
	nd.type = ICMPV6_ND_ADVERT;
	nd.flags = bpf_htonl(0xe0000000); /* router, solicited, override */
	for (int i = 0; i < 4; i++) {
		ip.saddr[i] = cfg_gateway6[i];
		ip.daddr[i] = sender.word[i];
		nd.target[i] = cfg_gateway6[i];
	}
	nd.opt_type = ND_OPT_TARGET_LL_ADDR;
	nd.opt_len = 1;
	set_router_mac(nd.opt_mac);
	nd.checksum = nd_checksum(&ip, &nd);

	__builtin_memcpy(f.eth.h_dest, f.eth.h_source, 6);
	set_router_mac(f.eth.h_source);
	f.ip = ip;
	f.nd = nd;
	if (bpf_skb_change_tail(skb, sizeof(f), 0) < 0 || bpf_skb_store_bytes(skb, 0, &f, sizeof(f), 0) < 0)
		return drop(skb, HOOK_FROM_POD, REASON_DROP_KERNEL);
	count(skb, HOOK_FROM_POD, REASON_ND_REPLY);
	return bpf_redirect(skb->ifindex, 0);
}
