/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The short way from bytes to a flow, for packets as nearly all are: TCP or UDP behind a
 * plain IP header, whole, with all headers in the linear part. Everything else is for
 * parse(). */
#pragma once
#include "flow.h"

/* A packet of a connection. */
struct quick {
	struct flow flow;
	__u32 direction; /* of the flow: 0 from end a */
	__u32 headers; /* bytes of the IP and transport headers */
	__u16 tcp_flags; /* 0 for UDP */
	__u16 ecn; /* the two bits of congestion notification (RFC 3168) */
};

struct ports {
	__be16 source;
	__be16 dest;
};

static __always_inline int quick_ports(void *transport, void *end, __u8 protocol, struct quick *q, struct ports *ports)
{
	if (protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = transport;

		if ((void *)(tcp + 1) > end)
			return -1;
		ports->source = tcp->source;
		ports->dest = tcp->dest;
		q->tcp_flags = tcp->flags;
		q->headers += (tcp->data_offset >> 4) * 4;
		return 0;
	}
	if (protocol == IPPROTO_UDP) {
		struct udphdr *udp = transport;

		if ((void *)(udp + 1) > end)
			return -1;
		ports->source = udp->source;
		ports->dest = udp->dest;
		q->tcp_flags = 0;
		q->headers += sizeof(*udp);
		return 0;
	}
	return -1;
}

/* quick_flow writes all of the flow but its addresses, in the order of its ends. */
static __always_inline void quick_flow(struct quick *q, const struct ports *ports, __u8 protocol, int swap)
{
	q->flow.a_port = swap ? ports->dest : ports->source;
	q->flow.b_port = swap ? ports->source : ports->dest;
	q->flow.protocol = protocol;
	q->flow.pad[0] = q->flow.pad[1] = q->flow.pad[2] = 0;
	q->direction = swap;
}

static __always_inline int quick_ipv4(void *data, void *end, struct quick *q)
{
	struct iphdr *ip = data;
	struct ports ports;
	int swap;

	if ((void *)(ip + 1) > end)
		return -1;
	q->ecn = ip->tos & ECN_MASK;
	if (ip->ihl_version != 0x45 || (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET)))
		return -1;
	q->headers = sizeof(*ip);
	if (quick_ports(ip + 1, end, ip->protocol, q, &ports) < 0)
		return -1;
	swap = ip->saddr == ip->daddr ? ports.dest < ports.source : ip->daddr < ip->saddr;
	map_ipv4(&q->flow.a, swap ? ip->daddr : ip->saddr);
	map_ipv4(&q->flow.b, swap ? ip->saddr : ip->daddr);
	quick_flow(q, &ports, ip->protocol, swap);
	return 0;
}

static __always_inline int quick_ipv6(void *data, void *end, struct quick *q)
{
	struct ipv6hdr *ip = data;
	struct ports ports;
	int swap;

	if ((void *)(ip + 1) > end)
		return -1;
	q->ecn = bpf_ntohl(ip->version_class_flow) >> 20 & ECN_MASK;
	if ((ip->version_class_flow & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
		return -1;
	q->headers = sizeof(*ip);
	if (quick_ports(ip + 1, end, ip->nexthdr, q, &ports) < 0)
		return -1;
	copy_address(&q->flow.a, ip->saddr);
	copy_address(&q->flow.b, ip->daddr);
	swap = same_address(&q->flow.a, &q->flow.b) ? ports.dest < ports.source : precedes(&q->flow.b, &q->flow.a);
	if (swap) {
		copy_address(&q->flow.a, ip->daddr);
		copy_address(&q->flow.b, ip->saddr);
	}
	quick_flow(q, &ports, ip->nexthdr, swap);
	return 0;
}

/* quick_parse fills q from the IP packet at data. It returns less than 0 for what is not
 * as nearly all packets are; that says nothing of whether the packet is good, and q has
 * its notification of congestion all the same. */
static __always_inline int quick_parse(void *data, void *end, __be16 protocol, struct quick *q)
{
	if (protocol == bpf_htons(ETH_P_IP))
		return quick_ipv4(data, end, q);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return quick_ipv6(data, end, q);
	return -1;
}
