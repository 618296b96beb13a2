/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* How a packet leaves a program: to a pod of this node, or into the tunnel.
 *
 * The hop limit stays as it is on both ways: a packet that bypasses the stack is never
 * sent on a second time, because what comes out of the tunnel goes to a pod of this node,
 * to the stack, or nowhere. So it cannot circle, and pods see one hop between them. */
#pragma once
#include "config.h"
#include "count.h"

struct mac_pair {
	__u8 to[6];
	__u8 from[6];
};

static __always_inline void set_router_mac(__u8 *mac)
{
	for (int i = 0; i < 6; i++)
		mac[i] = cfg_router_mac[i];
}

/* to_pod_peer hands the packet to the pod's end of the veth, past the host's end. */
static __always_inline int to_pod_peer(struct __sk_buff *skb, enum hook hook, const struct endpoint *ep)
{
	struct mac_pair macs;

	__builtin_memcpy(macs.to, ep->mac, sizeof(macs.to));
	set_router_mac(macs.from);
	if (bpf_skb_store_bytes(skb, 0, &macs, sizeof(macs), 0) < 0)
		return drop(skb, hook, REASON_DROP_KERNEL);
	count(skb, hook, REASON_LOCAL);
	return bpf_redirect_peer(ep->ifindex, 0);
}

/* set_tunnel addresses the packet to the node that has a range. The outer checksum is
 * left out over IPv4, where Ethernet's and the inner ones suffice and it may be
 * (RFC 7348); over IPv6 receivers refuse packets without one. */
static __always_inline long set_tunnel(struct __sk_buff *skb, const struct range *r)
{
	struct bpf_tunnel_key key = { .tunnel_id = cfg_vni, .tunnel_ttl = 64 };

	if (r->flags & RANGE_TUNNEL_IPV6) {
		for (int i = 0; i < 4; i++)
			key.remote_ipv6[i] = r->tunnel.word[i];
		return bpf_skb_set_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6);
	}
	key.remote_ipv4 = bpf_ntohl(r->tunnel.word[3]);
	return bpf_skb_set_tunnel_key(skb, &key, sizeof(key), BPF_F_ZERO_CSUM_TX);
}

/* to_tunnel sends the packet to the tunnel device. The receiver looks at no MAC address
 * but refuses packets that seem to come from itself, so both are our router's. */
static __always_inline int to_tunnel(struct __sk_buff *skb, enum hook hook, const struct range *r)
{
	struct mac_pair macs;

	set_router_mac(macs.to);
	set_router_mac(macs.from);
	if (bpf_skb_store_bytes(skb, 0, &macs, sizeof(macs), 0) < 0 || set_tunnel(skb, r) < 0)
		return drop(skb, hook, REASON_DROP_KERNEL);
	count(skb, hook, REASON_TUNNEL);
	return bpf_redirect(cfg_tunnel_ifindex, 0);
}
