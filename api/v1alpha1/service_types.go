// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// KubeProxyReplacement says who load-balances Services.
//
// +kubebuilder:validation:XValidation:rule="self in ['Enabled', 'Disabled']",message="kubeProxyReplacement must be Enabled or Disabled: set it to one of them, or leave it out for Disabled"
// +kubebuilder:validation:MaxLength=16
type KubeProxyReplacement string

const (
	// KubeProxyReplacementDisabled leaves Services to kube-proxy. The default.
	KubeProxyReplacementDisabled KubeProxyReplacement = "Disabled"
	// KubeProxyReplacementEnabled has Fairlead's agents balance Services, and kube-proxy
	// removed.
	KubeProxyReplacementEnabled KubeProxyReplacement = "Enabled"
)

// ServicesSpec configures how agents load-balance Services.
type ServicesSpec struct {
	// forwarding says how a connection from outside the cluster reaches a pod of another
	// node than the one that it came to: SNAT, the default (the pod sees that node's
	// address and answers by it), or DSR (the pod sees the client's address and its node
	// answers the client itself; the network must let nodes send with the addresses of
	// Services as source).
	// +optional
	// +kubebuilder:default=SNAT
	Forwarding ServiceForwarding `json:"forwarding,omitempty"`

	// frontends is how many addresses and ports of Services a node has room for: each
	// port of a Service takes one for each of its addresses, and one of each family for
	// its node port. From 1024 to 1048576. Default 65536.
	// +optional
	// +kubebuilder:default=65536
	Frontends ServiceFrontends `json:"frontends,omitempty"`

	// backends is how many endpoints of Services a node has room for: an endpoint takes
	// one for each port, and more where clients inside and outside the cluster are sent
	// to different endpoints. From 1024 to 1048576, 88 bytes of the node's memory each.
	// Default 262144.
	// +optional
	// +kubebuilder:default=262144
	Backends ServiceBackends `json:"backends,omitempty"`
}

// ServiceForwarding is how a connection from outside reaches a pod of another node.
//
// +kubebuilder:validation:XValidation:rule="self in ['SNAT', 'DSR']",message="services.forwarding must be SNAT or DSR: set it to one of them, or leave it out for SNAT"
// +kubebuilder:validation:MaxLength=16
type ServiceForwarding string

const (
	// ForwardingSNAT sends answers back by the node that the connection came to. The default.
	ForwardingSNAT ServiceForwarding = "SNAT"
	// ForwardingDSR has the pod's node answer the client itself.
	ForwardingDSR ServiceForwarding = "DSR"
)

// ServiceFrontends is how many addresses and ports of Services a node has room for.
//
// +kubebuilder:validation:XValidation:rule="self >= 1024 && self <= 1048576",message="services.frontends must be between 1024 and 1048576: set it to such a number, or leave it out for 65536"
type ServiceFrontends int32

// ServiceBackends is how many endpoints of Services a node has room for.
//
// +kubebuilder:validation:XValidation:rule="self >= 1024 && self <= 1048576",message="services.backends must be between 1024 and 1048576: set it to such a number, or leave it out for 262144"
type ServiceBackends int32

const (
	// DefaultServiceFrontends is the room for frontends when spec.cni.services.frontends
	// is not set.
	DefaultServiceFrontends ServiceFrontends = 65536
	// DefaultServiceBackends is the room for backends when spec.cni.services.backends is
	// not set.
	DefaultServiceBackends ServiceBackends = 262144
)
