/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Answers that a program gives itself, in place of the packet that it met: that a connection
 * is refused, or that a packet is too large.
 *
 * A packet may be one whose checksum the device is to compute, and a program cannot see
 * that: what is then written to the place of the checksum in the packet as it was is the
 * sum of all from its transport header on, with what stood there taken in. So answers are
 * made such that they are right whether or not it is written. */
#pragma once
#include "checksum.h"
#include "count.h"
#include "forward.h"
#include "translate.h"
#include "work.h"

static __always_inline void swap_macs(struct ethhdr *eth)
{
	__u8 mac[6];

	__builtin_memcpy(mac, eth->h_dest, 6);
	__builtin_memcpy(eth->h_dest, eth->h_source, 6);
	__builtin_memcpy(eth->h_source, mac, 6);
}

static __always_inline __u16 head_sum(const struct iphdr *ip)
{
	return fold(bpf_csum_diff(0, 0, (__be32 *)ip, sizeof(*ip), 0));
}

static __always_inline long write_head4(struct __sk_buff *skb, struct work *w, __u8 protocol, __u16 length)
{
	struct head4 *h = &w->head4;

	if (bpf_skb_load_bytes(skb, 0, &h->eth, ETH_HLEN) < 0)
		return -1;
	swap_macs(&h->eth);
	h->ip = (struct iphdr){
		.ihl_version = 0x45,
		.tot_len = bpf_htons(sizeof(h->ip) + length),
		.frag_off = bpf_htons(IP_DF),
		.ttl = 64,
		.protocol = protocol,
		.saddr = w->packet.dst.word[3],
		.daddr = w->packet.src.word[3],
	};
	h->ip.check = head_sum(&h->ip);
	return bpf_skb_store_bytes(skb, 0, &h->eth, ETH_HLEN + sizeof(h->ip), 0);
}

static __always_inline long write_head6(struct __sk_buff *skb, struct work *w, __u8 protocol, __u16 length)
{
	struct head6 *h = &w->head6;

	if (bpf_skb_load_bytes(skb, 0, &h->eth, ETH_HLEN) < 0)
		return -1;
	swap_macs(&h->eth);
	h->ip.version_class_flow = bpf_htonl(0x60000000);
	h->ip.payload_len = bpf_htons(length);
	h->ip.nexthdr = protocol;
	h->ip.hop_limit = 64;
	for (int i = 0; i < 4; i++) {
		h->ip.saddr[i] = w->packet.dst.word[i];
		h->ip.daddr[i] = w->packet.src.word[i];
	}
	return bpf_skb_store_bytes(skb, 0, &h->eth, ETH_HLEN + sizeof(h->ip), 0);
}

/* write_head puts Ethernet and IP headers of an answer with a payload of length bytes, to the
 * packet's source. */
static __always_inline long write_head(struct __sk_buff *skb, struct work *w, __u8 protocol, __u16 length)
{
	if (is_ipv4(&w->packet.src))
		return write_head4(skb, w, protocol, length);
	return write_head6(skb, w, protocol, length);
}

/* pseudo_sum is that of the pseudo header of an answer. An IPv4 address in its mapped form
 * adds the sum of 0xffff, which is none. */
static __always_inline __s64 pseudo_sum(struct work *w, __u8 protocol, __u16 length)
{
	for (int i = 0; i < 4; i++) {
		w->pseudo.saddr[i] = w->packet.dst.word[i];
		w->pseudo.daddr[i] = w->packet.src.word[i];
	}
	w->pseudo.length = bpf_htonl(length);
	w->pseudo.nexthdr = bpf_htonl(protocol);
	return bpf_csum_diff(0, 0, (__be32 *)&w->pseudo, sizeof(w->pseudo), 0);
}

static __always_inline __u32 ip_header_size(const struct packet *p)
{
	return is_ipv4(&p->src) ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
}

/* ip_size is the size of an IP packet in bytes; Ethernet may have padded it. */
static __always_inline __u32 ip_size(struct __sk_buff *skb, __u32 header)
{
	__be16 length = 0;

	if (header == sizeof(struct iphdr)) {
		bpf_skb_load_bytes(skb, ETH_HLEN + 2, &length, sizeof(length));
		return bpf_ntohs(length);
	}
	bpf_skb_load_bytes(skb, ETH_HLEN + 4, &length, sizeof(length));
	return header + bpf_ntohs(length);
}

/* is_plain says whether the transport header follows the IP header. */
static __always_inline int is_plain(const struct packet *p)
{
	return p->transport == ETH_HLEN + ip_header_size(p);
}

/* reset answers a TCP segment with RST (RFC 9293, 3.10.7.1). */
__noinline int reset(struct __sk_buff *skb)
{
	struct work *w = work();
	struct tcphdr tcp, rst = {};
	__u64 pseudo, sum;
	__u32 size, data;

	if (!w || bpf_skb_load_bytes(skb, w->packet.transport, &tcp, sizeof(tcp)) < 0 || (tcp.flags & TCP_RST))
		return -1;
	size = ip_header_size(&w->packet);
	data = ip_size(skb, size) - w->headers;
	rst.source = tcp.dest;
	rst.dest = tcp.source;
	rst.data_offset = sizeof(rst) / 4 << 4;
	rst.flags = TCP_RST;
	if (tcp.flags & TCP_ACK) {
		rst.seq = tcp.ack_seq;
	} else {
		rst.flags |= TCP_ACK;
		rst.ack_seq = bpf_htonl(bpf_ntohl(tcp.seq) + data + !!(tcp.flags & TCP_SYN) + !!(tcp.flags & TCP_FIN));
	}
	/* With the pseudo header's sum in the place of the checksum the device can complete it; with
	 * the window, which nobody looks at in a reset, it is complete already. */
	pseudo = sum16(pseudo_sum(w, IPPROTO_TCP, sizeof(rst)));
	sum = sum16(bpf_csum_diff(0, 0, (__be32 *)&rst, sizeof(rst), 0));
	rst.window = fold(sum + 2 * pseudo);
	rst.check = pseudo;
	if (bpf_skb_change_tail(skb, ETH_HLEN + size + sizeof(rst), 0) < 0 ||
	    write_head(skb, w, IPPROTO_TCP, sizeof(rst)) < 0)
		return -1;
	return bpf_skb_store_bytes(skb, ETH_HLEN + size, &rst, sizeof(rst), 0);
}

/* An ICMP error's own header (RFC 792, RFC 4443). */
struct icmp_error {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 value; /* the size that fits; 0 for other errors */
};

/* quote_sum makes the transport header that an error quotes, in the work's bytes from an
 * offset on, independent of a device that is to compute its checksum, and returns the sum of all
 * that is quoted. With R the sum of the header without its checksum x, the device
 * would write -(R+x) over x, after which the header's sum were -x instead of R+x. Both are the
 * same if x is -R/2: halving is turning right by one bit. */
static __always_inline __s64 quote_sum(struct work *w, __u32 ip, __u32 transport)
{
	__u32 at = ip + sum_offset(w->packet.protocol);
	__u16 x;
	__u64 rest;

	if (at > sizeof(struct ipv6hdr) + 16)
		return 0;
	*(__u16 *)(w->bytes + at) = 0;
	if (ip == sizeof(struct iphdr))
		rest = bpf_csum_diff(0, 0, (__be32 *)(w->bytes + sizeof(struct iphdr)), transport, 0);
	else
		rest = bpf_csum_diff(0, 0, (__be32 *)(w->bytes + sizeof(struct ipv6hdr)), transport, 0);
	x = fold(rest);
	x = x >> 1 | x << 15;
	*(__u16 *)(w->bytes + at) = x;
	return bpf_csum_diff(0, 0, (__be32 *)w->bytes, ip, 0) + sum16(rest) + x;
}

/* icmp_error answers a packet with an error about it, which quotes the head of it: 8 bytes
 * behind the IP header, of TCP all of its header but options. */
__noinline int icmp_error(struct __sk_buff *skb, __u32 type, __u32 code, __u32 value)
{
	struct work *w = work();
	struct icmp_error e = { .type = type, .code = code, .value = bpf_htonl(value) };
	__u32 ip, transport, length;
	__u8 protocol;
	__u64 sum;

	if (!w || !is_plain(&w->packet))
		return -1;
	ip = ip_header_size(&w->packet);
	transport = w->packet.protocol == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr);
	length = ip + transport + sizeof(e);
	/* sizes that the verifier knows */
	if (ip == sizeof(struct iphdr) ? bpf_skb_load_bytes(skb, ETH_HLEN, w->bytes, sizeof(struct iphdr) + sizeof(struct udphdr)) < 0 :
					 bpf_skb_load_bytes(skb, ETH_HLEN, w->bytes, sizeof(struct ipv6hdr) + sizeof(struct udphdr)) < 0)
		return -1;
	if (transport == sizeof(struct tcphdr) &&
	    (ip == sizeof(struct iphdr) ? bpf_skb_load_bytes(skb, ETH_HLEN, w->bytes, sizeof(struct iphdr) + sizeof(struct tcphdr)) < 0 :
					  bpf_skb_load_bytes(skb, ETH_HLEN, w->bytes, sizeof(struct ipv6hdr) + sizeof(struct tcphdr)) < 0))
		return -1;
	sum = quote_sum(w, ip, transport);
	sum += bpf_csum_diff(0, 0, (__be32 *)&e, sizeof(e), 0);
	protocol = IPPROTO_ICMP;
	if (ip == sizeof(struct ipv6hdr)) {
		protocol = IPPROTO_ICMPV6;
		sum += pseudo_sum(w, IPPROTO_ICMPV6, length);
	}
	e.checksum = fold(sum);
	if (bpf_skb_change_tail(skb, ETH_HLEN + ip + transport, 0) < 0 ||
	    bpf_skb_adjust_room(skb, ip + sizeof(e), BPF_ADJ_ROOM_MAC, 0) < 0 ||
	    write_head(skb, w, protocol, length) < 0 ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + ip, &e, sizeof(e), 0) < 0)
		return -1;
	/* What was quoted stands behind, as it was but for its checksum. */
	return bpf_skb_store_bytes(skb, ETH_HLEN + ip + sizeof(e) + ip + sum_offset(w->packet.protocol),
				   w->bytes + (ip == sizeof(struct iphdr) ? 20 : 40) +
					   (transport == sizeof(struct tcphdr) ? 16 : 6), 2, 0);
}

/* send_answer sends what a packet was made into back to where it came from. */
static __always_inline int send_answer(struct __sk_buff *skb, enum reason reason, long err)
{
	struct work *w = work();

	if (err < 0)
		return drop(skb, THIS_HOOK, REASON_DROP_NO_BACKEND);
	skb->tc_index = PAST_THE_STACK;
	count(skb, THIS_HOOK, reason);
	if (THIS_HOOK == HOOK_FROM_OVERLAY && w) { /* handed on by another node: the client is not there */
		if (ask_route(skb, &w->packet.dst, &w->packet.src, 0, &w->course.path) == HOP_NONE)
			return TC_ACT_SHOT;
		return bpf_redirect_neigh(w->course.path.ifindex, 0, 0, 0);
	}
	return bpf_redirect(skb->ifindex, 0);
}

/* refuse tells a client that nobody is there. */
__noinline int refuse(struct __sk_buff *skb)
{
	struct work *w = work();
	long err;

	if (!w || !(w->packet.flags & PACKET_FLOW) || !is_plain(&w->packet))
		return drop(skb, THIS_HOOK, REASON_DROP_NO_BACKEND);
	if (w->packet.protocol == IPPROTO_TCP)
		err = reset(skb);
	else if (is_ipv4(&w->packet.src))
		err = icmp_error(skb, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0);
	else
		err = icmp_error(skb, ICMPV6_DEST_UNREACH, ICMPV6_PORT_UNREACH, 0);
	return send_answer(skb, REASON_SERVICE_REFUSED, err);
}

/* say_size tells a client what is not too large. */
__noinline int say_size(struct __sk_buff *skb, __u32 mtu)
{
	struct work *w = work();
	long err;

	if (!w)
		return TC_ACT_SHOT;
	if (is_ipv4(&w->packet.src))
		err = icmp_error(skb, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, mtu);
	else
		err = icmp_error(skb, ICMPV6_PKT_TOOBIG, 0, mtu);
	return send_answer(skb, REASON_SERVICE_TOO_BIG, err);
}
