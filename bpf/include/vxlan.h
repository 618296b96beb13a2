/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* VXLAN without the kernel's device: the outer headers are put before a packet, and taken
 * away, where it is met. The device remains for what this cannot do. */
#pragma once
#include "config.h"
#include "helpers.h"
#include "layout.h"
#include "parse.h"

/* All headers of a tunnel packet, the inner Ethernet header included; with the padding
 * before them the IP header is aligned. */
struct outer4 {
	__u8 pad[2];
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	struct vxlanhdr vxlan;
	struct ethhdr inner;
};

struct outer6 {
	__u8 pad[2];
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct udphdr udp;
	struct vxlanhdr vxlan;
	struct ethhdr inner;
};

/* What a tunnel adds to a packet: 50 and 70 bytes. */
#define OVERHEAD4 (sizeof(struct iphdr) + sizeof(struct udphdr) + sizeof(struct vxlanhdr) + ETH_HLEN)
#define OVERHEAD6 (sizeof(struct ipv6hdr) + sizeof(struct udphdr) + sizeof(struct vxlanhdr) + ETH_HLEN)

#define TUNNEL_TTL 64

static __always_inline __be32 vxlan_vni(void)
{
	return bpf_htonl(cfg_vni << 8);
}

/* tunnel_source_port differs from flow to flow, so that networks between nodes spread
 * them over their paths (RFC 7348, section 5: from the dynamic range). */
static __always_inline __be16 tunnel_source_port(__u32 flow_hash)
{
	return bpf_htons(0xc000 | (flow_hash >> 16 & 0x3fff));
}

static __always_inline __sum16 ipv4_checksum(const struct iphdr *ip)
{
	const __u16 *words = (const void *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline void fill_udp(struct udphdr *udp, struct vxlanhdr *vxlan, __be16 source, __u16 length)
{
	udp->source = source;
	udp->dest = cfg_tunnel_port;
	udp->len = bpf_htons(length);
	udp->check = 0;
	vxlan->flags = bpf_htonl(VXLAN_HAS_VNI);
	vxlan->vni = vxlan_vni();
}

static __always_inline void fill_inner(struct ethhdr *eth, __be16 protocol)
{
	for (int i = 0; i < 6; i++)
		eth->h_dest[i] = eth->h_source[i] = cfg_router_mac[i];
	eth->h_proto = protocol;
}

#define ADD_OUTER (BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_ENCAP_L2_ETH | \
		   BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN))

/* A length that a header can say; packets that are to be cut up have none yet. */
static __always_inline __u16 header_length(__u32 length)
{
	return length > 0xffff ? 0 : length;
}

static __always_inline long add_outer4(struct __sk_buff *skb, const struct path *p, const struct address *remote,
				       __be16 source_port, __u8 ecn)
{
	__be16 protocol = skb->protocol;
	struct outer4 o;
	long err;

	err = bpf_skb_adjust_room(skb, OVERHEAD4, BPF_ADJ_ROOM_MAC, ADD_OUTER | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4);
	if (err < 0)
		return err;
	__builtin_memcpy(o.eth.h_dest, p->to_mac, 6);
	__builtin_memcpy(o.eth.h_source, p->from_mac, 6);
	o.eth.h_proto = bpf_htons(ETH_P_IP);
	o.ip.ihl_version = 0x45;
	o.ip.tos = ecn;
	o.ip.tot_len = bpf_htons(header_length(skb->len - ETH_HLEN));
	o.ip.id = 0; /* unused in what is never fragmented (RFC 6864) */
	o.ip.frag_off = bpf_htons(IP_DF);
	o.ip.ttl = TUNNEL_TTL;
	o.ip.protocol = IPPROTO_UDP;
	o.ip.check = 0;
	o.ip.saddr = cfg_tunnel_address[3];
	o.ip.daddr = remote->word[3];
	o.ip.check = ipv4_checksum(&o.ip);
	fill_udp(&o.udp, &o.vxlan, source_port, header_length(skb->len - ETH_HLEN - sizeof(o.ip)));
	fill_inner(&o.inner, protocol);
	return bpf_skb_store_bytes(skb, 0, &o.eth, ETH_HLEN + OVERHEAD4, 0);
}

/* The outer checksum is left out over IPv6 too (RFC 6935): inner ones cover the contents,
 * and the receiver compares the addresses with those of the sender's node. */
static __always_inline long add_outer6(struct __sk_buff *skb, const struct path *p, const struct address *remote,
				       __be16 source_port, __u8 ecn)
{
	__be16 protocol = skb->protocol;
	struct outer6 o;
	__u16 length;
	long err;

	err = bpf_skb_adjust_room(skb, OVERHEAD6, BPF_ADJ_ROOM_MAC, ADD_OUTER | BPF_F_ADJ_ROOM_ENCAP_L3_IPV6);
	if (err < 0)
		return err;
	__builtin_memcpy(o.eth.h_dest, p->to_mac, 6);
	__builtin_memcpy(o.eth.h_source, p->from_mac, 6);
	o.eth.h_proto = bpf_htons(ETH_P_IPV6);
	length = header_length(skb->len - ETH_HLEN - sizeof(o.ip));
	o.ip.version_class_flow = bpf_htonl(0x60000000 | ecn << 20);
	o.ip.payload_len = bpf_htons(length);
	o.ip.nexthdr = IPPROTO_UDP;
	o.ip.hop_limit = TUNNEL_TTL;
	for (int i = 0; i < 4; i++) {
		o.ip.saddr[i] = cfg_tunnel_address[i];
		o.ip.daddr[i] = remote->word[i];
	}
	fill_udp(&o.udp, &o.vxlan, source_port, length);
	fill_inner(&o.inner, protocol);
	return bpf_skb_store_bytes(skb, 0, &o.eth, ETH_HLEN + OVERHEAD6, 0);
}

/* add_outer puts a packet into the tunnel to remote, with its notification of congestion on
 * the outside too (RFC 6040, section 4.1, normal mode). On an error the packet is as it was,
 * unless memory ran out. */
static __noinline long add_outer(struct __sk_buff *skb, const struct path *p, const struct address *remote,
				 __be16 source_port, __u8 ecn)
{
	if (cfg_tunnel_ipv6)
		return add_outer6(skb, p, remote, source_port, ecn);
	return add_outer4(skb, p, remote, source_port, ecn);
}

/* remove_outer takes a packet, whose inner protocol is given, out of its tunnel. */
static __always_inline long remove_outer(struct __sk_buff *skb, __be16 protocol)
{
	__be16 outer = cfg_tunnel_ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;

	/* A kernel that does not know these flags refuses, and the device does it. */
	if (outer != protocol)
		flags |= protocol == bpf_htons(ETH_P_IP) ? BPF_F_ADJ_ROOM_DECAP_L3_IPV4 : BPF_F_ADJ_ROOM_DECAP_L3_IPV6;
	if (cfg_tunnel_ipv6)
		return bpf_skb_adjust_room(skb, -(__s32)OVERHEAD6, BPF_ADJ_ROOM_MAC, flags);
	return bpf_skb_adjust_room(skb, -(__s32)OVERHEAD4, BPF_ADJ_ROOM_MAC, flags);
}

/* What from_uplink must know of a tunnel packet. */
struct tunnelled {
	struct address sender; /* the other node's end */
	__be16 protocol; /* of the inner packet */
};

/* inner_offset is where the inner IP header stands. */
static __always_inline __u32 inner_offset(void)
{
	return ETH_HLEN + (cfg_tunnel_ipv6 ? OVERHEAD6 : OVERHEAD4);
}

/* is_ours looks at what follows the outer IP header. */
static __always_inline int is_ours(void *transport, void *end, struct tunnelled *t)
{
	struct udphdr *udp = transport;
	struct vxlanhdr *vxlan = (void *)(udp + 1);
	struct ethhdr *inner = (void *)(vxlan + 1);

	if ((void *)(inner + 1) > end || udp->dest != cfg_tunnel_port ||
	    vxlan->flags != bpf_htonl(VXLAN_HAS_VNI) || vxlan->vni != vxlan_vni())
		return 0;
	t->protocol = inner->h_proto;
	return 1;
}

/* tunnel_packet says whether a packet is one of our network's to this node. What it does
 * not recognise, the device may. The device also passes on to the inner packet what a
 * router has marked the outer one with (RFC 6040, section 4.2). */
static __always_inline int tunnel_packet(struct __sk_buff *skb, __be16 protocol, struct tunnelled *t)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (cfg_tunnel_ipv6) {
		struct ipv6hdr *ip = data + ETH_HLEN;

		if (protocol != bpf_htons(ETH_P_IPV6) || (void *)(ip + 1) > end || ip->nexthdr != IPPROTO_UDP ||
		    (bpf_ntohl(ip->version_class_flow) >> 20 & ECN_MASK) == ECN_CE)
			return 0;
		for (int i = 0; i < 4; i++) {
			if (ip->daddr[i] != cfg_tunnel_address[i])
				return 0;
		}
		copy_address(&t->sender, ip->saddr);
		return is_ours(ip + 1, end, t);
	} else {
		struct iphdr *ip = data + ETH_HLEN;

		if (protocol != bpf_htons(ETH_P_IP) || (void *)(ip + 1) > end || ip->ihl_version != 0x45 ||
		    (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET)) || ip->protocol != IPPROTO_UDP ||
		    ip->daddr != cfg_tunnel_address[3] || (ip->tos & ECN_MASK) == ECN_CE)
			return 0;
		map_ipv4(&t->sender, ip->saddr);
		return is_ours(ip + 1, end, t);
	}
}
