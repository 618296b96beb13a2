// SPDX-License-Identifier: Apache-2.0

// Package datapath is the only way to the kernel's network on a node: it loads the
// eBPF programs, keeps their maps, makes the devices, routes and masquerade rules
// that they need, and removes all of it again.
//
// It owns: everything below <BPFFS>/fairlead, the device fl_vxlan, host ends of pod
// veths ("fl" and twelve hexadecimal digits), routes of protocol 177, the nftables
// table inet fairlead, tc filters whose names begin with "fairlead_", and the host-wide
// sysctls that it records before it sets them. In others' nftables chains that drop what
// is forwarded it owns the rules whose comments begin with "fairlead: ".
//
// It must not know Kubernetes, xDS or the CNI protocol, and it makes no decision about
// what should be: callers hand over the desired state, it brings the kernel there. No
// other package of Fairlead imports ebpf, netlink or nftables.
//
// A Datapath belongs to the network namespace of the thread that called Open; all of
// its methods work there, whichever thread calls them. All methods are safe for
// concurrent use.
package datapath
