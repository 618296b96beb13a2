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
