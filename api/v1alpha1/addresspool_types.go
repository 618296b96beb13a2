// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What people may write on a Service of type LoadBalancer.
const (
	// AnnotationLoadBalancerIPs asks for addresses, separated by commas, at most one of
	// each family. It has the word over spec.loadBalancerIP.
	AnnotationLoadBalancerIPs = "fairlead.io/load-balancer-ips"
	// AnnotationAddressPool names the one AddressPool that the Service's addresses are of.
	AnnotationAddressPool = "fairlead.io/address-pool"
	// AnnotationSharingKey lets Services of one namespace with the same key have the same
	// address, as long as no port is used twice.
	AnnotationSharingKey = "fairlead.io/sharing-key"
	// LoadBalancerClassL2 is the spec.loadBalancerClass of Services that get their
	// addresses from an AddressPool, and from nobody else.
	LoadBalancerClassL2 = "fairlead.io/l2"
)

// AddressPoolSpec says which addresses there are and who gets them.
//
// +kubebuilder:validation:XValidation:rule="self.addresses.size() > 0",message="spec.addresses must have an entry: add a range such as 192.0.2.0/28 or 192.0.2.10-192.0.2.20"
type AddressPoolSpec struct {
	// addresses are the pool's ranges: 192.0.2.0/28, 192.0.2.10-192.0.2.20,
	// 2001:db8::/120. Every address of a range is used, its first and last too.
	// +required
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	Addresses []AddressRange `json:"addresses"`

	// serviceSelector selects Services by their labels; empty selects all.
	// +optional
	ServiceSelector metav1.LabelSelector `json:"serviceSelector,omitempty,omitzero"`

	// namespaces are those whose Services may have the pool's addresses; empty: all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=63
	Namespaces []string `json:"namespaces,omitempty"`

	// autoAssign gives the pool's addresses to Services that ask for none. When false,
	// only to Services that name the pool or the address. Default true.
	// +optional
	// +kubebuilder:default=true
	AutoAssign *bool `json:"autoAssign,omitempty"`

	// announce says how the network learns where the addresses are.
	// +optional
	// +kubebuilder:default={}
	Announce AnnounceSpec `json:"announce,omitempty,omitzero"`
}

// AddressRange is a prefix (192.0.2.0/28), a range with both of its ends
// (192.0.2.10-192.0.2.20), or one address.
//
// +kubebuilder:validation:MaxLength=87
// +kubebuilder:validation:XValidation:rule="self.contains('-') ? self.split('-').size() == 2 && self.split('-').all(a, isIP(a)) : (isCIDR(self) || isIP(self))",message="spec.addresses must have prefixes such as 192.0.2.0/28, ranges such as 192.0.2.10-192.0.2.20, or addresses: correct this one or remove it"
type AddressRange string

// AnnounceSpec says how the network learns where the addresses are.
type AnnounceSpec struct {
	// mode is L2, the default (one node at a time answers ARP and neighbour solicitations
	// for an address on the local segment), or None (something else leads packets to the
	// nodes: static routes, or a router's own).
	// +optional
	// +kubebuilder:default=L2
	Mode AnnounceMode `json:"mode,omitempty"`

	// nodeSelector selects the nodes that may announce by their labels; empty selects all.
	// Nodes with label node.kubernetes.io/exclude-from-external-load-balancers never do.
	// +optional
	NodeSelector metav1.LabelSelector `json:"nodeSelector,omitempty,omitzero"`

	// interfaces are names of network devices to announce on; empty: the device that the
	// node's address is on.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=15
	Interfaces []string `json:"interfaces,omitempty"`
}

// AnnounceMode is how addresses are announced.
//
// +kubebuilder:validation:XValidation:rule="self in ['L2', 'None']",message="spec.announce.mode must be L2 or None: set it to one of them, or leave it out for L2"
// +kubebuilder:validation:MaxLength=16
type AnnounceMode string

const (
	// AnnounceL2 answers ARP and neighbour solicitations. The default.
	AnnounceL2 AnnounceMode = "L2"
	// AnnounceNone announces nothing.
	AnnounceNone AnnounceMode = "None"
)

// AddressPoolStatus says how far the pool is used.
type AddressPoolStatus struct {
	// observedGeneration is the generation that the status is of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// ipv4 counts the pool's IPv4 addresses.
	// +optional
	IPv4 AddressCounts `json:"ipv4,omitempty,omitzero"`

	// ipv6 counts the pool's IPv6 addresses.
	// +optional
	IPv6 AddressCounts `json:"ipv6,omitempty,omitzero"`

	// conditions: Accepted (all of the spec can be used), Available (no Service waits for
	// an address of this pool), Ready (both).
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AddressCounts counts addresses of one family. Numbers that do not fit are the largest
// that do.
type AddressCounts struct {
	// total is how many addresses the pool has.
	// +optional
	Total int64 `json:"total,omitempty"`
	// assigned is how many of them Services have.
	// +optional
	Assigned int64 `json:"assigned,omitempty"`
	// free is how many can be given away.
	// +optional
	Free int64 `json:"free,omitempty"`
}

// AddressPool holds addresses for Services of type LoadBalancer, in the workload cluster
// that it is made in.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=apool,categories=fairlead
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.spec.addresses`
// +kubebuilder:printcolumn:name="Announce",type=string,JSONPath=`.spec.announce.mode`
// +kubebuilder:printcolumn:name="IPv4Free",type=integer,JSONPath=`.status.ipv4.free`
// +kubebuilder:printcolumn:name="IPv6Free",type=integer,JSONPath=`.status.ipv6.free`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AddressPool struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec AddressPoolSpec `json:"spec"`
	// +optional
	Status AddressPoolStatus `json:"status,omitempty"`
}

// AddressPoolList is a list of AddressPool.
//
// +kubebuilder:object:root=true
type AddressPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AddressPool `json:"items"`
}

func init() {
	register(&AddressPool{}, &AddressPoolList{})
}
