/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The kernel's types and constants that the programs use, and no more: only stable
 * interfaces (uapi and wire formats), so that no kernel headers are needed to build. */
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u16 __sum16;

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
};

enum {
	BPF_F_NO_PREALLOC = 1U << 0,
};

/* Flags of bpf_skb_get_tunnel_key and bpf_skb_set_tunnel_key. */
enum {
	BPF_F_TUNINFO_IPV6 = 1ULL << 0,
	BPF_F_ZERO_CSUM_TX = 1ULL << 1,
};

enum {
	TC_ACT_OK = 0,
	TC_ACT_SHOT = 2,
	TC_ACT_REDIRECT = 7,
};

/* Values of skb->pkt_type. */
enum {
	PACKET_HOST = 0,
};

struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
};

struct bpf_tunnel_key {
	__u32 tunnel_id;
	union {
		__u32 remote_ipv4; /* host byte order */
		__u32 remote_ipv6[4]; /* network byte order */
	};
	__u8 tunnel_tos;
	__u8 tunnel_ttl;
	__u16 tunnel_ext;
	__u32 tunnel_label;
	union {
		__u32 local_ipv4;
		__u32 local_ipv6[4];
	};
};

enum {
	ETH_HLEN = 14,
	ETH_P_IP = 0x0800,
	ETH_P_ARP = 0x0806,
	ETH_P_IPV6 = 0x86DD,
};

struct ethhdr {
	__u8 h_dest[6];
	__u8 h_source[6];
	__be16 h_proto;
} __attribute__((packed));

enum {
	ARPHRD_ETHER = 1,
	ARPOP_REQUEST = 1,
	ARPOP_REPLY = 2,
};

/* An ARP packet of Ethernet and IPv4 (RFC 826). */
struct arp_ipv4 {
	__be16 ar_hrd;
	__be16 ar_pro;
	__u8 ar_hln;
	__u8 ar_pln;
	__be16 ar_op;
	__u8 sender_mac[6];
	__be32 sender_ip;
	__u8 target_mac[6];
	__be32 target_ip;
} __attribute__((packed));

struct iphdr {
	__u8 ihl_version;
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__sum16 check;
	__be32 saddr;
	__be32 daddr;
};

enum {
	IP_MF = 0x2000,
	IP_OFFSET = 0x1FFF,
};

struct ipv6hdr {
	__be32 version_class_flow;
	__be16 payload_len;
	__u8 nexthdr;
	__u8 hop_limit;
	__be32 saddr[4];
	__be32 daddr[4];
};

/* The first bytes of every extension header. */
struct ipv6_opt_hdr {
	__u8 nexthdr;
	__u8 hdrlen;
	__be16 frag_off; /* only in a fragment header */
};

enum {
	IP6_MF = 0x0001,
	IP6_OFFSET = 0xFFF8,
};

enum {
	IPPROTO_HOPOPTS = 0,
	IPPROTO_ICMP = 1,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_ROUTING = 43,
	IPPROTO_FRAGMENT = 44,
	IPPROTO_AH = 51,
	IPPROTO_ICMPV6 = 58,
	IPPROTO_NONE = 59,
	IPPROTO_DSTOPTS = 60,
	IPPROTO_SCTP = 132,
	IPPROTO_UDPLITE = 136,
};

/* The common head of ICMP and ICMPv6; id is that of an echo. */
struct icmphdr {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 id;
	__be16 sequence;
};

enum {
	ICMP_ECHOREPLY = 0,
	ICMP_DEST_UNREACH = 3,
	ICMP_SOURCE_QUENCH = 4,
	ICMP_REDIRECT = 5,
	ICMP_ECHO = 8,
	ICMP_TIME_EXCEEDED = 11,
	ICMP_PARAMETERPROB = 12,

	ICMPV6_ERROR_LAST = 127, /* types below 128 are errors (RFC 4443) */
	ICMPV6_ECHO_REQUEST = 128,
	ICMPV6_ECHO_REPLY = 129,
	ICMPV6_ND_FIRST = 133, /* router solicitation */
	ICMPV6_ND_SOLICIT = 135,
	ICMPV6_ND_ADVERT = 136,
	ICMPV6_ND_LAST = 137, /* redirect */
};

/* A neighbour message with one link-layer address option (RFC 4861). */
struct nd_msg {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 flags;
	__be32 target[4];
	__u8 opt_type;
	__u8 opt_len; /* in units of eight bytes */
	__u8 opt_mac[6];
};

enum {
	ND_OPT_TARGET_LL_ADDR = 2,
};
