/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Keys and values of every map that is shared with Go or kept over a restart. This is
 * their only source: the Go side is generated. A change of any of them is a new
 * LAYOUT_VERSION, since maps pinned by an older agent have the old shape.
 *
 * Structs have no implicit padding. Fields are in host byte order unless said. */
#pragma once
#include "vmlinux.h"

enum layout_version {
	LAYOUT_VERSION = 1,
};

/* An IPv6 address, or an IPv4 address in its mapped form ::ffff:a.b.c.d, in network
 * byte order. One form for both families makes one map and one path for both. */
struct address {
	__be32 word[4];
};

/* fl_endpoints: address of a pod of this node -> where it is. */
struct endpoint {
	__u32 ifindex; /* the veth's end on the host */
	__u8 mac[6]; /* of the pod's end */
	__u8 pad[2];
};

enum range_flag {
	RANGE_LOCAL = 1, /* a range of this node's own pods; tunnel is unset */
	RANGE_TUNNEL_IPV6 = 2, /* tunnel is an IPv6 address */
};

/* fl_ranges: pod range -> the node that has it. prefixlen counts bits of the mapped
 * form: an IPv4 /24 is 120. */
struct range_key {
	__u32 prefixlen;
	struct address address;
};

struct range {
	struct address tunnel; /* the node's tunnel address */
	__u8 flags; /* of enum range_flag */
	__u8 pad[3];
};

/* fl_via_stack: a flow between two pods whose packets must take the host's network
 * stack, since the stack translated one direction of it. Both directions have the same
 * key: the end with the smaller address (then port) is the first. Ports are in network
 * byte order; for ICMP echo both are the identifier, without ports both are 0. */
struct flow {
	struct address a;
	struct address b;
	__be16 a_port;
	__be16 b_port;
	__u8 protocol;
	__u8 pad[3];
};

struct flow_note {
	__u32 noted; /* 1; a value must have a size */
};

/* fl_metrics: index hook * REASON_SLOTS + reason -> what was counted, for each CPU. */
struct counter {
	__u64 packets;
	__u64 bytes;
};

enum hook {
	HOOK_FROM_POD = 0,
	HOOK_TO_POD = 1,
	HOOK_FROM_OVERLAY = 2,
	HOOK_TO_OVERLAY = 3,
	HOOK_COUNT = 4,
};

enum reason {
	/* forwarded or answered */
	REASON_STACK = 0, /* to the host's stack: host, outside, services */
	REASON_LOCAL = 1, /* straight to a pod of this node */
	REASON_TUNNEL = 2, /* into the tunnel */
	REASON_VIA_STACK = 3, /* between pods, but the stack must see it */
	REASON_DELIVERED = 4, /* from the host's stack to the pod */
	REASON_ARP_REPLY = 5,
	REASON_ND_REPLY = 6,
	REASON_FRAGMENT = 7, /* to the host's stack, which can reassemble */
	REASON_OTHER = 8, /* not IP, let through */

	/* dropped: everything from REASON_DROP on */
	REASON_DROP = 16,
	REASON_DROP_TRUNCATED = 16, /* headers end before they should */
	REASON_DROP_PROTOCOL = 17, /* neither ARP nor IP */
	REASON_DROP_SOURCE = 18, /* not the pod's own address, or of this node and from outside */
	REASON_DROP_NEIGHBOUR = 19, /* ARP or neighbour discovery for other than the gateway */
	REASON_DROP_MULTICAST = 20, /* multicast and broadcast are not carried */
	REASON_DROP_NO_PEER = 21, /* into the tunnel, to an address that no peer has */
	REASON_DROP_NOT_HERE = 22, /* out of the tunnel, to an address that is not of this node */
	REASON_DROP_VNI = 23, /* a tunnel packet of another network */
	REASON_DROP_KERNEL = 24, /* a helper refused, for example for want of memory */
	REASON_SLOTS = 32,
};
