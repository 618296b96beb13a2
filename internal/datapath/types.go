// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
)

// Defaults of Options.
const (
	DefaultBPFFS      = "/sys/fs/bpf"
	DefaultTunnelPort = 8472
	// DefaultFlowEntries is a table of 16 MiB.
	DefaultFlowEntries = 1 << 17
)

// Room for Services: 1.5 MiB of addresses and ports, 22 MiB of endpoints.
const (
	DefaultServiceFrontends = 1 << 16
	DefaultServiceBackends  = 1 << 18
)

// Bounds of Options.ServiceFrontends and ServiceBackends.
const (
	MinServiceEntries = 1 << 10
	MaxServiceEntries = 1 << 20
)

// DefaultPolicyEntries is room for a hundred thousand addresses that policies name.
const DefaultPolicyEntries = 1 << 17

// Bounds of Options.PolicyEntries.
const (
	MinPolicyEntries = 1 << 8
	MaxPolicyEntries = 1 << 22
)

// Bounds of Options.FlowEntries.
const (
	MinFlowEntries = 1 << 10
	MaxFlowEntries = 1 << 22
)

// TunnelDevice is the name of the VXLAN device of a node.
const TunnelDevice = "fl_vxlan"

// Options are the settings of a node's datapath. The zero value of a field means its
// default.
type Options struct {
	// BPFFS is the directory at which a BPF file system is mounted, or can be
	// mounted; "" means /sys/fs/bpf. Pins live below <BPFFS>/fairlead.
	BPFFS string
	// Uplink is the device that tunnel packets leave by; "" means the device that
	// holds the node's address.
	Uplink string
	// MTU is the largest IP packet of a pod, in bytes; 0 means the uplink's MTU, in
	// tunnels less their overhead (50 over IPv4, 70 over IPv6).
	MTU int
	// TunnelPort is the UDP port of VXLAN; 0 means 8472.
	TunnelPort uint16
	// Masquerade gives traffic of pods to destinations outside the cluster the
	// node's address as source.
	Masquerade bool
	// MasqueradeExceptions are destinations outside the cluster that see pods' own
	// addresses all the same, because they have a route back to them.
	MasqueradeExceptions []netip.Prefix
	// Routing is how packets reach pods of other nodes; "" means RoutingTunnel.
	Routing Routing
	// FlowEntries is how many connections the node remembers the way of, a power of two;
	// 0 means 131,072. One takes 128 bytes.
	FlowEntries int
	// Policies makes this node enforce what UpdatePolicies says. Until all of it has been told,
	// what an earlier run has enforced stays in force.
	Policies bool
	// PolicyEntries is how many rows each map of policies has room for; 0 means 131,072. A row
	// takes memory when it is used: about 100 bytes.
	PolicyEntries int
	// Services makes this node translate Services' packets: kube-proxy is replaced.
	Services bool
	// ServiceForwarding is how packets from outside reach a Service's backend on another
	// node; "" means ForwardSNAT.
	ServiceForwarding ServiceForwarding
	// ServiceFrontends and ServiceBackends are how many addresses and ports of Services,
	// and how many of their endpoints, there is room for; 0 means 65,536 and 262,144.
	ServiceFrontends, ServiceBackends int
	// CgroupRoot is the cgroup (version 2) of all sockets that Services are balanced for; ""
	// means the root of the one that is mounted at or below /sys/fs/cgroup.
	CgroupRoot string
	// layout is that of the maps; tests give another than bpf.LayoutVersion.
	layout int
	// Log receives what a person should know; nil means no log.
	Log *slog.Logger
}

// Routing is how packets reach pods of other nodes. What arrives is taken in both forms
// whatever the setting, so nodes can change it one by one.
type Routing string

const (
	// RoutingTunnel sends them in VXLAN to the other node's address.
	RoutingTunnel Routing = "Tunnel"
	// RoutingNative sends them as they are: the network between nodes knows the way. Where
	// another node is on a network of this one, the datapath keeps that route itself.
	RoutingNative Routing = "Native"
)

// ServiceForwarding is how packets from outside reach a Service's backend on another node.
type ServiceForwarding string

const (
	// ForwardSNAT gives them this node's address as source, so that the answer comes back
	// here.
	ForwardSNAT ServiceForwarding = "SNAT"
	// ForwardDSR hands them on as they are, in the tunnel; the backend's node answers the
	// client itself, with the Service's address.
	ForwardDSR ServiceForwarding = "DSR"
)

// Node is what the datapath must know of its own node.
type Node struct {
	// Name is the node's name; the MAC address of its gateway derives from it.
	Name string
	// PodCIDRs are the ranges that its pods' addresses come from, at most one of
	// each family. The first host address of each is the pods' gateway.
	PodCIDRs []netip.Prefix
	// Addresses are the node's own, at most one of each family. Tunnels run over
	// IPv4 when it has an IPv4 address, else over IPv6.
	Addresses []netip.Addr
	// ClusterPodCIDRs are all ranges that pods of the cluster may have; traffic to
	// them is never masqueraded.
	ClusterPodCIDRs []netip.Prefix
}

// Peer is another node of the cluster.
type Peer struct {
	Name      string
	PodCIDRs  []netip.Prefix
	Addresses []netip.Addr
	// PathMTU is the largest IP packet that the network carries to the peer, in bytes;
	// 0 means as large as this node's uplink sends.
	PathMTU int
}

// EndpointSpec names a pod interface to make.
type EndpointSpec struct {
	// ContainerID and IfName identify the endpoint, as in CNI.
	ContainerID string `json:"containerID"`
	// IfName is the interface's name in the pod.
	IfName string `json:"ifName"`
	// Netns is the path of the pod's network namespace.
	Netns string `json:"netns"`
	// Addresses are the pod's, at most one of each family, each in a podCIDR of the node.
	Addresses []netip.Addr `json:"addresses"`
}

// MAC is a hardware address that reads and writes JSON in its usual textual form.
type MAC net.HardwareAddr

// String returns the address as "aa:bb:cc:dd:ee:ff".
func (m MAC) String() string { return net.HardwareAddr(m).String() }

// MarshalText implements encoding.TextMarshaler.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *MAC) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*m = nil
		return nil
	}
	hw, err := net.ParseMAC(string(text))
	if err != nil {
		return fmt.Errorf("MAC %q: %w", text, err)
	}
	*m = MAC(hw)
	return nil
}

// Endpoint is a pod interface as it was made. It can be stored as JSON and given back
// to RestoreEndpoints, RemoveEndpoint and CheckEndpoint.
type Endpoint struct {
	EndpointSpec
	// HostIf and HostIfIndex are the veth's end on the host.
	HostIf      string `json:"hostIf"`
	HostIfIndex int    `json:"hostIfIndex"`
	PodMAC      MAC    `json:"podMAC"`
	HostMAC     MAC    `json:"hostMAC"`
	// MTU is the largest packet that the pod sends, in bytes: that of its default routes.
	MTU int `json:"mtu"`
	// LinkMTU is that of the veth's ends, in bytes. It is the uplink's, so that what the
	// node receives from outside reaches the pod whole: were it smaller, the node would
	// tell other hosts that packets to itself must be smaller, and tunnels from those
	// hosts to this node (which go to the same address) would break.
	LinkMTU int `json:"linkMTU"`
	// Gateways are the pod's default gateways, in the order of Addresses.
	Gateways []netip.Addr `json:"gateways"`
}

// Counter is one of the datapath's packet counters, summed over all CPUs since the
// maps were made (a restart of the agent does not reset it).
type Counter struct {
	// Hook is where the packet was met: from_pod, to_pod, from_overlay, to_overlay,
	// from_uplink, to_uplink.
	Hook string
	// Reason says what was done with it and why, for example "local" or "spoofed_source".
	Reason string
	// Dropped tells packets that went no further.
	Dropped bool
	Packets uint64
	Bytes   uint64
}
