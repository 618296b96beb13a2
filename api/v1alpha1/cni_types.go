// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// CNISpec configures the pod network. The zero value of each field is its default.
type CNISpec struct {
	// tunnel configures the VXLAN tunnel between nodes.
	// +optional
	// +kubebuilder:default={}
	Tunnel TunnelSpec `json:"tunnel,omitempty,omitzero"`

	// mtu is the MTU of pod interfaces in bytes. 0, the default, derives it from the
	// node's uplink and the tunnel's overhead.
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == 0 || (self >= 1280 && self <= 9216)",message="mtu must be 0 (derived from each node's uplink) or between 1280, the least that IPv6 allows, and 9216: set it to such a number or leave it out"
	MTU int32 `json:"mtu,omitempty"`

	// masquerade gives traffic from pods to addresses outside the cluster the
	// node's address. Default true.
	// +optional
	// +kubebuilder:default=true
	Masquerade *bool `json:"masquerade,omitempty"`
}

// TunnelSpec configures the VXLAN tunnel between nodes.
type TunnelSpec struct {
	// port is the UDP port of the tunnel. Default 8472.
	// +optional
	// +kubebuilder:default=8472
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 65535",message="tunnel.port must be a UDP port between 1 and 65535: set it to such a number, or leave it out for 8472"
	Port int32 `json:"port,omitempty"`
}

// DefaultTunnelPort is the UDP port of the tunnel when spec.cni.tunnel.port is not set.
const DefaultTunnelPort int32 = 8472
