/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What a program knows of the packet that it has in hand. It is more than fits on the stack,
 * so each CPU has one in a map; nothing else of this program runs on a CPU meanwhile, as
 * traffic is met with bottom halves disabled. */
#pragma once
#include "checksum.h"
#include "connection.h"
#include "maps.h"
#include "next_hop.h"
#include "parse.h"
#include "service.h"

/* Room for an IP header and the TCP header behind it. */
#define QUOTE_ROOM (sizeof(struct ipv6hdr) + sizeof(struct tcphdr))

/* An Ethernet and an IP header; with the padding before them the latter is aligned. */
struct head4 {
	__u8 pad[2];
	struct ethhdr eth;
	struct iphdr ip;
};

struct head6 {
	__u8 pad[2];
	struct ethhdr eth;
	struct ipv6hdr ip;
};

/* A pod as policies see it: its rulesets; 0 for none, and for whoever is no pod of this node. */
struct subject {
	__u64 ingress;
	__u64 egress;
};

/* What policies are asked about. */
struct judged {
	struct translation_key ends; /* of the packet: its destination's port is what is asked for */
	struct subject source;
	struct subject dest;
	struct course course; /* of the connection; its path is not of concern */
	__u64 cause; /* the rule that said no last */
	__u8 from_host; /* the host itself has sent it */
	__u8 pad[7];
};

struct work {
	struct packet packet;
	struct translation_key key; /* of the packet as it was met */
	struct translation row; /* how it goes on */
	struct translation_key back; /* of the packets that go the other way */
	struct translation reverse; /* how those go on */
	struct choice choice;
	struct course course;
	struct judged judged;
	struct ends before, after; /* addresses, while they are exchanged */
	union {
		struct head4 head4; /* of an answer */
		struct head6 head6;
		struct pseudo6 pseudo;
	};
	__u8 bytes[QUOTE_ROOM];
	__u32 headers; /* bytes of the IP and transport headers */
	__u8 tcp_flags; /* 0 for UDP, later fragments and ICMP errors */
	__u8 pad[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} fl_work SEC(".maps");

static __always_inline struct work *work(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&fl_work, &zero);
}
