/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* From bytes to what the programs decide by. Headers are copied out, never assumed to
 * be in the linear part of the packet. */
#pragma once
#include "helpers.h"
#include "layout.h"

enum packet_flag {
	PACKET_FRAGMENT = 1, /* any fragment, the first included */
	PACKET_FLOW = 2, /* source and destination end of the flow are known */
	PACKET_ICMP_ERROR = 4, /* the flow is the one that the error is about */
	PACKET_MAY_BE_CUT = 8, /* IPv4 without DF: a router may cut it up */
};

/* A packet and the flow that it belongs to. For an ICMP error the flow is that of the
 * packet which it quotes, seen in the direction of the error. */
struct packet {
	struct address src;
	struct address dst;
	struct address flow_src;
	struct address flow_dst;
	__be16 flow_sport;
	__be16 flow_dport;
	__be32 id; /* of the datagram that a fragment is of */
	__u16 transport; /* offset of the transport header */
	__u16 quoted; /* of the IP header of the packet that an ICMP error quotes */
	__u16 quoted_transport; /* of its transport header */
	__u8 protocol;
	__u8 flags;
	__u8 icmp_type;
	__u8 ecn; /* the two bits of congestion notification */
	__u8 pad[2];
};

/* How many IPv6 extension headers are followed; a packet with more is treated as one
 * without ports. */
#define MAX_EXTENSION_HEADERS 6

/* What stands at an offset: filled by network_header. */
struct network {
	struct address src;
	struct address dst;
	__be32 id; /* of the datagram that a fragment is of */
	__u32 transport; /* offset of the transport header */
	__u8 protocol;
	__u8 fragment; /* any fragment */
	__u8 later_fragment; /* one without the transport header */
	__u8 may_be_cut; /* IPv4 without DF */
	__u8 ecn;
	__u8 pad[3];
};

static __always_inline void map_ipv4(struct address *a, __be32 ip)
{
	a->word[0] = 0;
	a->word[1] = 0;
	a->word[2] = bpf_htonl(0xffff);
	a->word[3] = ip;
}

static __always_inline int is_ipv4(const struct address *a)
{
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == bpf_htonl(0xffff);
}

static __always_inline void copy_address(struct address *to, const __be32 *from)
{
	to->word[0] = from[0];
	to->word[1] = from[1];
	to->word[2] = from[2];
	to->word[3] = from[3];
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, __u32 offset, struct network *n)
{
	struct iphdr ip;
	__u32 length;

	if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)) < 0)
		return -1;
	length = (ip.ihl_version & 0x0f) * 4;
	if (ip.ihl_version >> 4 != 4 || length < sizeof(ip))
		return -1;
	map_ipv4(&n->src, ip.saddr);
	map_ipv4(&n->dst, ip.daddr);
	n->protocol = ip.protocol;
	n->id = ip.id;
	n->ecn = ip.tos & ECN_MASK;
	n->may_be_cut = !(ip.frag_off & bpf_htons(IP_DF));
	n->fragment = (ip.frag_off & bpf_htons(IP_MF | IP_OFFSET)) != 0;
	n->later_fragment = (ip.frag_off & bpf_htons(IP_OFFSET)) != 0;
	n->transport = offset + length;
	return 0;
}

static __always_inline int parse_ipv6(struct __sk_buff *skb, __u32 offset, struct network *n)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)) < 0)
		return -1;
	if ((ip.version_class_flow & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
		return -1;
	copy_address(&n->src, ip.saddr);
	copy_address(&n->dst, ip.daddr);
	n->protocol = ip.nexthdr;
	n->ecn = bpf_ntohl(ip.version_class_flow) >> 20 & ECN_MASK;
	n->fragment = 0;
	n->later_fragment = 0;
	n->transport = offset + sizeof(ip);

	for (int i = 0; i < MAX_EXTENSION_HEADERS; i++) {
		struct ipv6_opt_hdr opt;
		__u32 length;

		switch (n->protocol) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_FRAGMENT:
		case IPPROTO_AH:
			break;
		default:
			return 0;
		}
		if (bpf_skb_load_bytes(skb, n->transport, &opt, sizeof(opt)) < 0)
			return -1;
		length = (opt.hdrlen + 1) * 8;
		if (n->protocol == IPPROTO_AH)
			length = (opt.hdrlen + 2) * 4;
		if (n->protocol == IPPROTO_FRAGMENT) {
			bpf_skb_load_bytes(skb, n->transport + 4, &n->id, sizeof(n->id)); /* 0 when cut off */
			length = 8;
			n->fragment |= (opt.frag_off & bpf_htons(IP6_MF | IP6_OFFSET)) != 0;
			n->later_fragment |= (opt.frag_off & bpf_htons(IP6_OFFSET)) != 0;
		}
		n->protocol = opt.nexthdr;
		n->transport += length;
		if (n->later_fragment)
			return 0;
	}
	return 0;
}

/* network_header fills n from the IP header at an offset and the headers that extend it. It
 * returns less than 0 when they are cut off. (It is not static, so that the verifier goes
 * through it once.) */
__noinline int network_header(struct __sk_buff *skb, __u32 offset, __u32 v6, struct network *n)
{
	if (!n)
		return -1;
	return v6 ? parse_ipv6(skb, offset, n) : parse_ipv4(skb, offset, n);
}

static __always_inline int has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
	       protocol == IPPROTO_UDPLITE;
}

static __always_inline int is_icmp_error(__u8 protocol, __u8 type)
{
	if (protocol == IPPROTO_ICMPV6)
		return type <= ICMPV6_ERROR_LAST;
	return type == ICMP_DEST_UNREACH || type == ICMP_SOURCE_QUENCH || type == ICMP_REDIRECT ||
	       type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETERPROB;
}

/* transport_ports reads the two ends of a flow: ports, or an echo's identifier for
 * both. It returns less than 0 when the header is cut off. */
static __always_inline int transport_ports(struct __sk_buff *skb, __u8 protocol, __u32 offset, __be16 ports[2],
					   __u8 *icmp_type)
{
	ports[0] = 0;
	ports[1] = 0;
	if (has_ports(protocol))
		return bpf_skb_load_bytes(skb, offset, ports, 4);
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) {
		struct icmphdr icmp;

		if (bpf_skb_load_bytes(skb, offset, &icmp, sizeof(icmp)) < 0)
			return -1;
		*icmp_type = icmp.type;
		ports[0] = icmp.id;
		ports[1] = icmp.id;
	}
	return 0;
}

/* parse_quoted reads the packet that an ICMP error at offset is about. Quotes may be cut
 * short; then the error belongs to no flow that we know. */
static __always_inline void parse_quoted(struct __sk_buff *skb, __u32 offset, int v6, struct packet *p)
{
	struct network inner = {};
	__be16 ports[2];
	__u8 type = 0;
	int err;

	err = network_header(skb, offset, v6, &inner);
	if (err < 0 || inner.later_fragment)
		return;
	if (transport_ports(skb, inner.protocol, inner.transport, ports, &type) < 0)
		return;
	/* The quoted packet went the other way than its error. */
	p->flow_src = inner.dst;
	p->flow_dst = inner.src;
	p->flow_sport = ports[1];
	p->flow_dport = ports[0];
	p->protocol = inner.protocol;
	p->quoted = offset;
	p->quoted_transport = inner.transport;
	p->flags |= PACKET_FLOW;
}

/* parse fills p from an IPv4 or IPv6 packet behind an Ethernet header. It returns less
 * than 0 when the packet ends within a header that it should have. (It is not static, so
 * that the verifier goes through it once, and not once for each way through the callers.) */
__noinline int parse(struct __sk_buff *skb, struct packet *p)
{
	int v6 = skb->protocol == bpf_htons(ETH_P_IPV6);
	struct network n = {};
	__be16 ports[2];
	int err;

	if (!p)
		return -1;
	err = network_header(skb, ETH_HLEN, v6, &n);
	if (err < 0)
		return -1;
	p->src = n.src;
	p->dst = n.dst;
	p->protocol = n.protocol;
	p->transport = n.transport;
	p->id = n.id;
	p->ecn = n.ecn;
	p->icmp_type = 0;
	p->flags = n.may_be_cut ? PACKET_MAY_BE_CUT : 0;
	if (n.fragment)
		p->flags |= PACKET_FRAGMENT;
	if (n.later_fragment)
		return 0;
	if (transport_ports(skb, n.protocol, n.transport, ports, &p->icmp_type) < 0)
		return -1;
	if ((n.protocol == IPPROTO_ICMP || n.protocol == IPPROTO_ICMPV6) && is_icmp_error(n.protocol, p->icmp_type)) {
		p->flags |= PACKET_ICMP_ERROR;
		parse_quoted(skb, n.transport + sizeof(struct icmphdr), v6, p);
		return 0;
	}
	p->flow_src = n.src;
	p->flow_dst = n.dst;
	p->flow_sport = ports[0];
	p->flow_dport = ports[1];
	p->flags |= PACKET_FLOW;
	return 0;
}

/* is_multicast is also true for the IPv4 broadcast address. */
static __always_inline int is_multicast(const struct address *a)
{
	if (is_ipv4(a))
		return (a->word[3] & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || a->word[3] == 0xffffffff;
	return (a->word[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

static __always_inline int is_loopback(const struct address *a)
{
	if (is_ipv4(a))
		return (a->word[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == 0 && a->word[3] == bpf_htonl(1);
}

static __always_inline int is_unspecified(const struct address *a)
{
	return a->word[3] == 0 && (is_ipv4(a) || (a->word[0] == 0 && a->word[1] == 0 && a->word[2] == 0));
}

static __always_inline int is_link_local6(const struct address *a)
{
	return (a->word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* fragment_of fills k for a packet that is a fragment. */
static __always_inline void fragment_of(struct fragment_key *k, const struct packet *p)
{
	k->src = p->src;
	k->dst = p->dst;
	k->id = p->id;
	k->protocol = p->protocol;
	k->pad[0] = k->pad[1] = k->pad[2] = 0;
}
