/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Settings of a node, written into the program's read-only data when it is loaded: the
 * verifier sees constants, and a change is a load and an exchange of programs. */
#pragma once
#include "vmlinux.h"

/* The pods' gateway of each family in network byte order; 0 when the node has no range
 * of that family. */
volatile const __be32 cfg_gateway4;
volatile const __be32 cfg_gateway6[4];

/* The MAC address of the tunnel device and of all veths' host ends. */
volatile const __u8 cfg_router_mac[6];

volatile const __u32 cfg_tunnel_ifindex;

/* The VXLAN network identifier of the cluster. */
volatile const __u32 cfg_vni;

/* The device that the node's address is on; 0 when it is no Ethernet device, and then all
 * tunnel packets take the kernel's VXLAN device. */
volatile const __u32 cfg_uplink_ifindex;

/* The node's end of tunnels: an IPv6 address, or an IPv4 address in its mapped form. */
volatile const __be32 cfg_tunnel_address[4];

/* Whether tunnels run over IPv6. */
volatile const __u8 cfg_tunnel_ipv6;

/* The UDP port of VXLAN in network byte order. */
volatile const __be16 cfg_tunnel_port;

/* The node's range of pods of each family in the mapped form, and its mask; all ones in
 * the mask of a family without one, which no address then matches. */
volatile const __be32 cfg_pods4;
volatile const __be32 cfg_pods4_mask;
volatile const __be32 cfg_pods6[4];
volatile const __be32 cfg_pods6_mask[4];

/* Whether Services are translated here; the verifier removes all of it otherwise. */
volatile const __u8 cfg_services;

/* Whether packets from outside are handed on to the node of their backend as they came,
 * which answers the client itself. */
volatile const __u8 cfg_dsr;

/* The node's address of each family in network byte order, the source of packets from
 * outside to backends that are no pods; 0 when it has none. */
volatile const __be32 cfg_node4;
volatile const __be32 cfg_node6[4];

/* Rows of fl_connections, less one. */
volatile const __u32 cfg_flow_mask;
