/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Writes other addresses and ports into a packet. Checksums are changed by what changes in
 * what they cover, which is right for packets that are yet to be cut up too, and where
 * the device is to compute them. */
#pragma once
#include "checksum.h"
#include "work.h"

/* sum_offset is where the checksum stands in a transport header. */
static __always_inline __u32 sum_offset(__u8 protocol)
{
	return protocol == IPPROTO_TCP ? 16 : 6;
}

/* write_addresses changes both addresses of the IP header at an offset and returns what their sum
 * grows by; the checksum of an IPv4 header makes up for it. Of IPv4 addresses the last word is
 * written, and the others of the mapped form do not differ. */
static __always_inline __s64 write_addresses(struct __sk_buff *skb, __u32 ip, int v4, struct ends *before, struct ends *after)
{
	__s64 diff = bpf_csum_diff(before->src.word, sizeof(*before), after->src.word, sizeof(*after), 0);

	if (v4) {
		if (bpf_l3_csum_replace(skb, ip + 10, 0, diff, 0) < 0 ||
		    bpf_skb_store_bytes(skb, ip + 12, &after->src.word[3], 4, 0) < 0 ||
		    bpf_skb_store_bytes(skb, ip + 16, &after->dst.word[3], 4, 0) < 0)
			return -1;
	} else if (bpf_skb_store_bytes(skb, ip + 8, after, sizeof(*after), 0) < 0) {
		return -1;
	}
	return diff;
}

/* write_ports changes the ports at an offset, and the checksum at another. */
static __always_inline long write_ports(struct __sk_buff *skb, __u32 at, __u32 sum, __u64 flags, const struct ports *before,
					const struct ports *after)
{
	struct ports old = *before, new = *after;
	__s64 diff = bpf_csum_diff((__be32 *)&old, sizeof(old), (__be32 *)&new, sizeof(new), 0);

	if (bpf_l4_csum_replace(skb, sum, 0, diff, flags) < 0)
		return -1;
	return bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0);
}

/* translate_packet writes the addresses and ports of the work's row in place of those of its
 * key. Later fragments have no ports. */
static __always_inline long translate_packet(struct __sk_buff *skb, struct work *w)
{
	struct ports before = { w->key.sport, w->key.dport }, after = { w->row.sport, w->row.dport };
	int v4 = is_ipv4(&w->key.dst), later = !(w->packet.flags & PACKET_FLOW);
	__u64 flags = w->key.protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	__u32 sum = w->packet.transport + sum_offset(w->key.protocol);
	/* rows and keys begin with both addresses */
	__s64 diff = write_addresses(skb, ETH_HLEN, v4, (struct ends *)&w->key, (struct ends *)&w->row);

	if (diff < 0)
		return -1;
	if (!later && (bpf_l4_csum_replace(skb, sum, 0, diff, flags | BPF_F_PSEUDO_HDR) < 0 ||
		       write_ports(skb, w->packet.transport, sum, flags, &before, &after) < 0))
		return -1;
	/* The sum that a device took of the whole packet: the kernel takes addresses for made up
	 * for by the header's checksum, which IPv6 has not. */
	if (!v4)
		bpf_csum_update(skb, diff);
	return 0;
}

/* translate_error does so for an ICMP error, and to the packet that it quotes the same in the
 * other direction. The quoted checksum is left: what it covers is cut off, and nobody
 * looks at it. An error's source stays, unless it is the translated flow's. */
static __always_inline long translate_error(struct __sk_buff *skb, struct work *w)
{
	struct ports before = { w->key.dport, w->key.sport }, after = { w->row.dport, w->row.sport };
	__u32 sum = w->packet.transport + 2;
	int v4 = is_ipv4(&w->key.dst);
	__s64 diff;

	w->before.src = w->packet.src;
	w->before.dst = w->packet.dst;
	w->after.src = same_address(&w->row.src, &w->key.src) ? w->packet.src : w->row.src;
	w->after.dst = w->row.dst;
	diff = write_addresses(skb, ETH_HLEN, v4, &w->before, &w->after);
	if (diff < 0)
		return -1;
	if (!v4) { /* ICMPv6 covers the addresses around it, and all that it quotes */
		if (bpf_l4_csum_replace(skb, sum, 0, diff, BPF_F_PSEUDO_HDR) < 0)
			return -1;
		bpf_csum_update(skb, diff);
	}
	w->before.src = w->key.dst;
	w->before.dst = w->key.src;
	w->after.src = w->row.dst;
	w->after.dst = w->row.src;
	diff = write_addresses(skb, w->packet.quoted, v4, &w->before, &w->after);
	if (diff < 0 || (!v4 && bpf_l4_csum_replace(skb, sum, 0, diff, 0) < 0))
		return -1;
	return write_ports(skb, w->packet.quoted_transport, sum, 0, &before, &after);
}

/* rewrite brings the work's packet from its key to its row. It returns less than 0 when the
 * kernel refused, and then the packet is no longer what it was. */
__noinline int rewrite(struct __sk_buff *skb)
{
	struct work *w = work();

	if (!w)
		return -1;
	if (w->packet.flags & PACKET_ICMP_ERROR)
		return translate_error(skb, w);
	return translate_packet(skb, w);
}
