// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// CNISpec configures the pod network. The zero value of each field is its default.
type CNISpec struct {
	// routing says how packets reach pods of other nodes.
	// +optional
	// +kubebuilder:default={}
	Routing RoutingSpec `json:"routing,omitempty,omitzero"`

	// tunnel configures the VXLAN tunnel between nodes.
	// +optional
	// +kubebuilder:default={}
	Tunnel TunnelSpec `json:"tunnel,omitempty,omitzero"`

	// mtu is the MTU of pod interfaces in bytes. 0, the default, derives it from the
	// node's uplink: its MTU less the tunnel's overhead with routing.mode Tunnel, its
	// MTU with Native.
	// +optional
	MTU MTU `json:"mtu,omitempty"`

	// masquerade gives traffic from pods to addresses outside the cluster the
	// node's address. Default true.
	// +optional
	// +kubebuilder:default=true
	Masquerade *bool `json:"masquerade,omitempty"`

	// masqueradeExceptions are ranges outside the cluster that see pods' own
	// addresses although masquerade is true, because they have routes back to the
	// pods. At most 32.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	MasqueradeExceptions []CIDR `json:"masqueradeExceptions,omitempty"`

	// flowTable configures each node's memory of connections.
	// +optional
	// +kubebuilder:default={}
	FlowTable FlowTableSpec `json:"flowTable,omitempty,omitzero"`

	// policies configures how NetworkPolicies and ClusterNetworkPolicies are enforced.
	// +optional
	Policies PoliciesSpec `json:"policies,omitempty,omitzero"`

	// kubeProxyReplacement says who load-balances Services: kube-proxy with Disabled,
	// the default, or Fairlead's agents with Enabled. With Enabled kube-proxy is removed
	// once every agent has all Services in force.
	// +optional
	// +kubebuilder:default=Disabled
	KubeProxyReplacement KubeProxyReplacement `json:"kubeProxyReplacement,omitempty"`

	// services configures how agents load-balance Services. It has no effect while
	// kubeProxyReplacement is Disabled.
	// +optional
	// +kubebuilder:default={}
	Services ServicesSpec `json:"services,omitempty,omitzero"`
}

// RoutingSpec says how packets reach pods of other nodes.
type RoutingSpec struct {
	// mode is Tunnel, the default (in VXLAN to the other node's address; the network
	// between nodes need know nothing of pods), or Native (as they are; the network
	// between nodes must route pod ranges, unless the nodes share a network).
	// +optional
	// +kubebuilder:default=Tunnel
	Mode RoutingMode `json:"mode,omitempty"`
}

// RoutingMode is how packets reach pods of other nodes.
//
// +kubebuilder:validation:XValidation:rule="self in ['Tunnel', 'Native']",message="routing.mode must be Tunnel or Native: set it to one of them, or leave it out for Tunnel"
// +kubebuilder:validation:MaxLength=16
type RoutingMode string

const (
	// RoutingTunnel sends packets in VXLAN to the other node's address. The default.
	RoutingTunnel RoutingMode = "Tunnel"
	// RoutingNative sends packets as they are: the network between nodes knows the way.
	RoutingNative RoutingMode = "Native"
)

// MTU is the MTU of pod interfaces in bytes; 0 derives it from each node's uplink.
//
// +kubebuilder:validation:XValidation:rule="self == 0 || (self >= 1280 && self <= 9216)",message="mtu must be 0 (derived from each node's uplink) or between 1280, the least that IPv6 allows, and 9216: set it to such a number or leave it out"
type MTU int32

// CIDR is a range of IPv4 or IPv6 addresses, such as 10.0.0.0/8 or 2001:db8::/32.
//
// +kubebuilder:validation:MaxLength=43
// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="masqueradeExceptions must be ranges of addresses such as 10.0.0.0/8 or 2001:db8::/32: correct this one or remove it"
type CIDR string

// TunnelSpec configures the VXLAN tunnel between nodes.
type TunnelSpec struct {
	// port is the UDP port of the tunnel. Default 8472.
	// +optional
	// +kubebuilder:default=8472
	Port TunnelPort `json:"port,omitempty"`
}

// TunnelPort is the UDP port of the tunnel.
//
// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 65535",message="tunnel.port must be a UDP port between 1 and 65535: set it to such a number, or leave it out for 8472"
type TunnelPort int32

// DefaultTunnelPort is the UDP port of the tunnel when spec.cni.tunnel.port is not set.
const DefaultTunnelPort TunnelPort = 8472

// FlowTableSpec configures each node's memory of connections.
type FlowTableSpec struct {
	// entries is how many connections a node remembers the way of: a power of two from
	// 16384 to 4194304. Each takes 128 bytes of the node's memory. Default 131072.
	// +optional
	// +kubebuilder:default=131072
	Entries FlowEntries `json:"entries,omitempty"`
}

// FlowEntries is how many connections a node remembers the way of.
//
// +kubebuilder:validation:XValidation:rule="self in [16384, 32768, 65536, 131072, 262144, 524288, 1048576, 2097152, 4194304]",message="flowTable.entries must be a power of two from 16384 to 4194304: set it to 16384, 32768, 65536, 131072, 262144, 524288, 1048576, 2097152 or 4194304, or leave it out for 131072"
type FlowEntries int32

// DefaultFlowEntries is the size of the flow table when spec.cni.flowTable.entries is
// not set.
const DefaultFlowEntries FlowEntries = 131072
