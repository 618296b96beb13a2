/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* How a packet leaves a program: to a pod of this node, to another node as it is, or into
 * the tunnel.
 *
 * The hop limit stays as it is on all ways: a packet that bypasses the stack is never
 * sent on a second time, because what comes from another node goes to a pod of this node,
 * to the stack, or nowhere. So it cannot circle, and pods see one hop between them. */
#pragma once
#include "connection.h"
#include "count.h"
#include "vxlan.h"

/* Marks, between from_pod and to_uplink, packets that have not been in the stack. */
#define PAST_THE_STACK 0xfa1e

struct mac_pair {
	__u8 to[6];
	__u8 from[6];
};

static __always_inline void set_router_mac(__u8 *mac)
{
	for (int i = 0; i < 6; i++)
		mac[i] = cfg_router_mac[i];
}

static __always_inline long set_macs(struct __sk_buff *skb, const struct path *p)
{
	/* both addresses stand side by side, as on the wire */
	return bpf_skb_store_bytes(skb, 0, p->to_mac, sizeof(struct mac_pair), 0);
}

/* pod_path is the way to a pod of this node. */
static __always_inline void pod_path(struct path *p, const struct endpoint *ep)
{
	p->kind = PATH_POD;
	p->ifindex = ep->ifindex;
	__builtin_memcpy(p->to_mac, ep->mac, 6);
	set_router_mac(p->from_mac);
	p->mtu = 0xffff;
}

/* to_pod_peer hands the packet to the pod's end of the veth, past the host's end. */
static __always_inline int to_pod_peer(struct __sk_buff *skb, enum hook hook, const struct path *p)
{
	if (set_macs(skb, p) < 0)
		return drop(skb, hook, REASON_DROP_KERNEL);
	count(skb, hook, REASON_LOCAL);
	return bpf_redirect_peer(p->ifindex, 0);
}

/* exceeds says whether an IP packet, or each of those that it is yet to be cut into, is
 * larger than fits. */
static __always_inline int exceeds(struct __sk_buff *skb, __u32 headers, __u32 mtu)
{
	if (skb->gso_size)
		return headers + skb->gso_size > mtu;
	return skb->len - ETH_HLEN > mtu;
}

/* set_tunnel addresses the packet, for the tunnel device, to the node that has a range. The
 * outer checksum is left out over IPv4, where Ethernet's and the inner ones suffice and it
 * may be (RFC 7348). */
static __always_inline long set_tunnel(struct __sk_buff *skb, const struct address *remote)
{
	struct bpf_tunnel_key key = { .tunnel_id = cfg_vni, .tunnel_ttl = TUNNEL_TTL };

	if (cfg_tunnel_ipv6) {
		for (int i = 0; i < 4; i++)
			key.remote_ipv6[i] = remote->word[i];
		return bpf_skb_set_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6);
	}
	key.remote_ipv4 = bpf_ntohl(remote->word[3]);
	return bpf_skb_set_tunnel_key(skb, &key, sizeof(key), BPF_F_ZERO_CSUM_TX);
}

/* to_device leaves the tunnel's headers to the tunnel device. The receiver looks at no MAC
 * address but refuses packets that seem to come from itself, so both are our router's. */
static __noinline int to_device(struct __sk_buff *skb, enum hook hook, const struct address *remote)
{
	struct mac_pair macs;

	set_router_mac(macs.to);
	set_router_mac(macs.from);
	if (bpf_skb_store_bytes(skb, 0, &macs, sizeof(macs), 0) < 0 || set_tunnel(skb, remote) < 0)
		return drop(skb, hook, REASON_DROP_KERNEL);
	count(skb, hook, REASON_TUNNEL);
	return bpf_redirect(cfg_tunnel_ifindex, 0);
}

/* How a packet for another node meets the next hop. */
enum next_hop {
	HOP_KNOWN, /* the path has its MAC address */
	HOP_ASK, /* the kernel looks it up, and probes a neighbour that it has not heard of for long */
};

/* to_node sends the packet to another node. */
static __always_inline int to_node(struct __sk_buff *skb, enum hook hook, const struct course *c, enum next_hop hop)
{
	const struct path *p = &c->path;

	if (p->kind == PATH_TUNNEL) {
		/* It fails for a packet that is in some tunnel already. */
		if (add_outer(skb, p, &c->remote, tunnel_source_port(c->hash), c->packet.ecn) < 0)
			return to_device(skb, hook, &c->remote);
		if (cfg_services)
			skb->tc_index = PAST_THE_STACK; /* to_uplink is attached in any case */
		count(skb, hook, REASON_TUNNEL);
	} else {
		if (set_macs(skb, p) < 0)
			return drop(skb, hook, REASON_DROP_KERNEL);
		skb->tc_index = PAST_THE_STACK;
		count(skb, hook, REASON_NATIVE);
	}
	if (hop == HOP_ASK)
		return bpf_redirect_neigh(p->ifindex, 0, 0, 0);
	return bpf_redirect(p->ifindex, 0);
}
