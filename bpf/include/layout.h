/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Keys and values of every map that is shared with Go or kept over a restart. This is
 * their only source: the Go side is generated. A change of any of them is a new
 * LAYOUT_VERSION, since maps pinned by an older agent have the old shape. An agent whose
 * layout is another than that of the programs in force fills its own maps first, then
 * exchanges the programs.
 *
 * Structs have no implicit padding. Fields are in host byte order unless said. */
#pragma once
#include "vmlinux.h"

enum layout_version {
	LAYOUT_VERSION = 4,
	/* Programs of two layouts share what packets and sockets have noted, and nobody can find
	 * out again. A change of it is a new version of these alone, and breaks connections. */
	NOTES_VERSION = 1, /* of fl_via_stack */
	TRANSLATED_VERSION = 1, /* of fl_translations, fl_affinities, fl_sock_origins and fl_udp_origins */
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
	__u8 pad[6];
	__u64 ingress; /* ruleset of what the pod may receive; 0: everything */
	__u64 egress; /* of what it may send */
};

enum range_flag {
	RANGE_LOCAL = 1, /* a range of this node's own pods; tunnel is unset */
	RANGE_NATIVE = 2, /* the network between nodes knows the way; no tunnel is needed */
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
	__u8 pad;
	__u16 mtu; /* largest IP packet between pods, in bytes */
};

/* fl_peers: tunnel address of another node -> what it may send. */
struct peer {
	__u32 known; /* 1; a value must have a size */
};

/* A flow of packets between two ends. fl_via_stack: a flow between two pods whose packets must take the host's network
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

/* How packets of one direction of a connection go on. */
enum path_kind {
	PATH_NONE = 0, /* not known */
	PATH_POD = 1, /* to the pod behind device ifindex */
	PATH_NATIVE = 2, /* out by device ifindex as they are */
	PATH_TUNNEL = 3, /* out by device ifindex in VXLAN */
};

enum path_flag {
	PATH_FROM_TUNNEL = 1, /* they arrive in VXLAN from the connection's remote */
};

struct path {
	__u32 from; /* the device that they must come in by */
	__u32 ifindex;
	__u8 to_mac[6];
	__u8 from_mac[6];
	__u32 checked; /* tick at which the next hop's MAC address was looked up */
	__u16 mtu; /* larger IP packets go to the host's stack, which says so to their sender */
	__u8 kind; /* of enum path_kind */
	__u8 flags; /* of enum path_flag */
};

enum connection_flag {
	CONNECTION_SEEN = 1, /* a packet of direction 0; shifted by one: of direction 1 */
	CONNECTION_FIN = 4, /* likewise */
	CONNECTION_RST = 16,
};

enum connection_verdict {
	CONNECTION_OPENED = 1, /* it is known who opened the connection: end a */
	CONNECTION_OPENED_B = 2, /* with the former: end b */
	CONNECTION_ALLOWED = 4, /* policies were asked, in the row's epoch, and let it through */
};

/* fl_connections: the table of connections, TCP and UDP. A connection stands in one of
 * the FLOW_WAYS rows from that of its hash on. Both of its directions share a row;
 * direction 0 is from end a to end b of its flow. */
struct connection {
	struct flow flow; /* protocol 0: the row is free */
	struct address remote; /* the other node's end of the tunnel */
	__u32 sequence; /* odd while flow, remote, epoch or path are written */
	__u32 epoch; /* that of the state which the paths were decided by */
	struct path path[2];
	__u32 seen; /* tick of the last packet */
	__u8 flags; /* of enum connection_flag */
	__u8 verdict; /* of enum connection_verdict */
	__u8 pad[2];
};

/* fl_state: what all programs share. */
struct state {
	__u64 seed; /* of the connections' hash; secret, so that nobody can aim at a row */
	__u32 epoch; /* paths of another epoch are decided anew */
	__u32 pad;
};

/* Services.
 *
 * fl_frontends says which pool of backends a virtual address and port has, fl_pools which
 * slots a pool has, fl_slots which backend stands in a slot, fl_backends where that is.
 * A client's hash picks a slot. Whoever follows the numbers checks that the backend that
 * it comes to is of the pool that it started from: a reader that meets a change half-way
 * sees that it did, and looks again.
 *
 * A NodePort or a host port without an address has the unspecified address of its family
 * (:: or ::ffff:0.0.0.0) and stands for every address in fl_node_addrs. */
struct frontend_key {
	struct address address;
	__be16 port;
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 pad;
};

enum frontend_flag {
	FRONTEND_SOURCE_RANGES = 1, /* from outside, only clients in fl_src_ranges */
	FRONTEND_KEEP_SOURCE = 2, /* from outside, the client's address is kept: all backends are here */
	FRONTEND_CLUSTER_IP = 4, /* of no concern to packets from outside */
	FRONTEND_DROP_OUTSIDE = 8, /* nobody here may answer a packet from outside: no refusal either */
};

struct frontend {
	__u32 inside; /* pool for clients on this node */
	__u32 outside; /* pool for packets that come in by the uplink */
	__u32 service; /* number of the Service on this node, for its source ranges */
	__u32 affinity; /* seconds that a client stays with its backend; 0: no affinity */
	__u8 flags; /* of enum frontend_flag */
	__u8 pad[3];
};

/* fl_pools: number of a pool -> its slots. */
struct pool {
	__u32 base; /* the first slot */
	__u32 slots; /* how many: a power of two; 0: no backend, clients are refused at once */
};

enum backend_flag {
	BACKEND_LOCAL = 1, /* on this node */
	BACKEND_POD = 2, /* on the pod network, not a host or an address outside */
};

/* fl_backends: number of a backend -> where it is. A number is given away again only when
 * all others have been. */
struct backend {
	struct address address;
	__be16 port;
	__u8 flags; /* of enum backend_flag */
	__u8 pad;
	__u32 pool; /* the pool that it is of; 0: none, the row is free. Pools are numbered from 1 */
};

/* fl_affinities: client and pool -> its backend. The client is the packet's source, or
 * for sockets the cookie of their network namespace in the last two words. */
struct affinity_key {
	struct address client;
	__u32 pool;
	__u32 socket; /* 1: the client is a cookie */
};

struct affinity {
	__u32 backend; /* number */
	__u32 seen; /* tick of the last use */
	struct address address; /* of the backend when it was chosen: the number may be another's now */
};

/* fl_src_ranges: Service and range -> its clients are let in. prefixlen counts the 32
 * bits of the Service's number too. */
struct source_range_key {
	__u32 prefixlen;
	__u32 service;
	struct address address;
};

struct source_range {
	__u32 allowed; /* 1; a value must have a size */
};

/* fl_node_addrs: an address of this node. */
struct node_address {
	__u32 known; /* 1; a value must have a size */
};

/* fl_sock_origins (socket storage): what a connected socket was asked to connect to, and
 * what it was connected to instead. */
struct socket_origin {
	struct address asked;
	struct address backend;
	__be16 asked_port;
	__be16 backend_port;
	__u32 pool; /* of the backend */
};

/* fl_udp_origins: socket and backend -> what a datagram was sent to, so that the
 * answer seems to come from there. */
struct datagram_key {
	__u64 cookie; /* of the socket */
	struct address backend;
	__be16 port;
	__u8 pad[6];
};

struct datagram_origin {
	struct address asked;
	__be16 port;
	__u8 pad[2];
};

/* fl_gone: a backend that sockets must not stay with. */
struct gone_key {
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

/* fl_translations: a flow in one direction, as its packets are met -> as they go on. Each
 * translated connection has two rows, one for each direction. */
struct translation_key {
	struct address src;
	struct address dst;
	__be16 sport;
	__be16 dport;
	__u8 protocol;
	__u8 pad[3];
};

enum translation_flag {
	TRANSLATION_REPLY = 1, /* the row of packets that come back */
	TRANSLATION_SEEN = 2, /* a packet of this direction was met */
	TRANSLATION_CLOSING = 4, /* it had FIN or RST */
	TRANSLATION_FORWARD = 8, /* not translated here: handed on to the node that answers the client itself (DSR) */
};

struct translation {
	struct address src;
	struct address dst;
	__be16 sport;
	__be16 dport;
	__u8 flags; /* of enum translation_flag */
	__u8 pad[3];
	__u32 seen; /* tick of the last packet */
	__u32 pool; /* that the backend was chosen from */
	__u32 backend; /* its number */
};

/* fl_fragments: a datagram that comes in fragments -> the ports of its first one. */
struct fragment_key {
	struct address src;
	struct address dst;
	__be32 id;
	__u8 protocol;
	__u8 pad[3];
};

struct fragment {
	__be16 sport;
	__be16 dport;
};

/* Policies.
 *
 * A pod's row in fl_endpoints names a ruleset for each direction. fl_classes says which
 * class a peer's address is of, fl_policies which table of ports a ruleset has for a class,
 * fl_ports what becomes of a connection to a port. All are named by digests of what they stand
 * for, so a name never means something else, whoever reads while rows are being changed. What
 * no row allows is denied.
 *
 * fl_classes has the keys of fl_ranges. No row: class 0. */
struct class {
	__u64 id;
};

/* Where a ruleset has no row for a class, that for class 0 holds. */
struct policy_key {
	__u64 ruleset;
	__u64 class;
};

struct policy {
	__u64 ports; /* the table */
};

/* prefixlen counts the bits behind it: 64 are every protocol that has no row, 80 every port of
 * one, 96 one port. */
struct port_key {
	__u32 prefixlen;
	__u32 ports[2]; /* the table, a number in host byte order */
	__u8 protocol;
	__u8 pad;
	__be16 port; /* of the connection's destination; 0 where there are no ports */
};

struct verdict {
	__u64 cause; /* the rule that says so */
	__u8 allow;
	__u8 pad[7];
};

enum direction {
	DIRECTION_INGRESS = 1,
	DIRECTION_EGRESS = 2,
};

/* fl_drops (ring buffer): a packet that was dropped. */
struct drop_event {
	__u64 cause; /* 0: no policy did, or no rule of one said anything */
	struct address src; /* unspecified: it has none that could be read */
	struct address dst;
	__be16 sport;
	__be16 dport;
	__u32 length; /* bytes, with the Ethernet header */
	__u8 hook; /* of enum hook */
	__u8 reason; /* of enum reason */
	__u8 direction; /* of enum direction, in which a policy dropped it; 0: none did */
	__u8 protocol;
	__u8 pad[4];
};

/* fl_flow_events: index of enum flow_event -> how often, for each CPU. */
enum flow_event {
	FLOW_CREATED = 0, /* a connection got a row */
	FLOW_DECIDED_ANEW = 1, /* a path was out of date or not known yet */
	FLOW_EVICTED_CLOSED = 2, /* a row of a closed connection was given to another */
	FLOW_EVICTED_UNANSWERED = 3, /* likewise of one that nobody had answered */
	FLOW_TABLE_FULL = 4, /* no row; every packet of the connection is decided anew */
	FLOW_CONTENDED = 5, /* the row was being written by another CPU */
	FLOW_EVENT_COUNT = 6,
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
	HOOK_FROM_UPLINK = 4,
	HOOK_TO_UPLINK = 5,
	HOOK_COUNT = 6,
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
	REASON_NATIVE = 9, /* to another node, as it is */
	REASON_TOO_BIG = 10, /* to the host's stack, which tells the sender what fits */
	REASON_SERVICE = 11, /* of a Service's client, to its backend */
	REASON_SERVICE_REPLY = 12, /* of a Service's backend, to its client */
	REASON_SERVICE_HANDED_ON = 13, /* to the node of its backend, which answers the client itself */
	REASON_SERVICE_REFUSED = 14, /* answered: the Service has no backend */
	REASON_SERVICE_TOO_BIG = 15, /* answered with the size that fits on the way to the backend */

	/* dropped: everything from REASON_DROP on */
	REASON_DROP = 16,
	REASON_DROP_TRUNCATED = 16, /* headers end before they should */
	REASON_DROP_PROTOCOL = 17, /* neither ARP nor IP, or from a pod with a VLAN's tag */
	REASON_DROP_SOURCE = 18, /* not the pod's own address, or of this node and from outside */
	REASON_DROP_NEIGHBOUR = 19, /* ARP or neighbour discovery for other than the gateway */
	REASON_DROP_MULTICAST = 20, /* multicast and broadcast are not carried */
	REASON_DROP_NO_PEER = 21, /* into the tunnel, to an address that no peer has */
	REASON_DROP_NOT_HERE = 22, /* out of the tunnel, to an address that is not of this node */
	REASON_DROP_VNI = 23, /* a tunnel packet of another network */
	REASON_DROP_KERNEL = 24, /* a helper refused, for example for want of memory */
	REASON_DROP_STRANGER = 25, /* out of the tunnel, from an address that is not the sender's node's */
	REASON_DROP_SOURCE_RANGE = 26, /* a client that the Service does not let in */
	REASON_DROP_NO_PORT = 27, /* no port is left to tell one client of a backend from others */
	REASON_DROP_NO_BACKEND = 28, /* the Service has no backend, and no answer is due */
	REASON_DROP_CHANGING = 29, /* the Service's backends were being changed all the time */
	REASON_DROP_UNROUTED = 30, /* of a Service, no way is known */
	REASON_DROP_INGRESS = 31, /* a policy: the pod may not receive it */
	REASON_DROP_EGRESS = 32, /* a policy: the pod may not send it */
	REASON_DROP_FRAGMENT = 33, /* of a policed pod, and the first fragment of the datagram was not met */
	REASON_SLOTS = 40,
};
