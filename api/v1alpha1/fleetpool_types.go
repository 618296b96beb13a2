// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations of Clusters that get their addresses from a FleetPool.
const (
	// AnnotationClusterID is a Cluster's number in the fleet, which it keeps for life.
	AnnotationClusterID = "fairlead.io/cluster-id"
	// AnnotationLoadBalancerRanges are the Cluster's prefixes for load balancers, separated by
	// commas; its cluster gets them as AddressPool "fleet".
	AnnotationLoadBalancerRanges = "fairlead.io/load-balancer-ranges"
	// AnnotationBirth is BirthPending at a Cluster that is paused until it has its addresses:
	// whoever gives them takes both away. It is for Clusters without a topology.
	AnnotationBirth = "fairlead.io/birth"
	// AnnotationNodeKernel is the version of Linux that the image of the Cluster's machines
	// brings, such as 6.12.0. The hooks hold an upgrade to one that the network does not support.
	AnnotationNodeKernel = "fairlead.io/node-kernel"
)

// BirthPending is the value of AnnotationBirth.
const BirthPending = "Pending"

// FleetAddressPool is the name of the AddressPool that a cluster gets for what its Cluster holds
// for load balancers.
const FleetAddressPool = "fleet"

// FleetPoolSpec says which numbers and addresses there are for the clusters of a namespace.
//
// +kubebuilder:validation:XValidation:rule="!has(self.classes) || self.classes.all(c, self.classes.exists_one(d, d.name == c.name))",message="spec.classes has two of one name: rename one"
type FleetPoolSpec struct {
	// clusterIDs are the numbers that clusters get, the first and the last too.
	// +optional
	// +kubebuilder:default={first: 1, last: 4095}
	ClusterIDs ClusterIDRange `json:"clusterIDs,omitempty,omitzero"`

	// pools are the ranges that clusters get theirs from. No two overlap.
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Pools []FleetAddresses `json:"pools"`

	// classes say how large the ranges of clusters are; the first that selects a cluster
	// counts. A cluster that none selects gets no addresses, and its condition says so.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Classes []ClusterClassSizes `json:"classes"`

	// quarantine is how long what a cluster gave back rests before another one gets it.
	// Default 1h.
	// +optional
	// +kubebuilder:default="1h"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="spec.quarantine must not be negative"
	Quarantine *metav1.Duration `json:"quarantine,omitempty"`
}

// ClusterIDRange are numbers of clusters, the first and the last too.
//
// +kubebuilder:validation:XValidation:rule="self.last >= self.first",message="clusterIDs.last must not be less than clusterIDs.first"
type ClusterIDRange struct {
	// first is the lowest number.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	First int32 `json:"first"`

	// last is the highest number.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Last int32 `json:"last"`
}

// AddressUse is what addresses are for.
//
// +kubebuilder:validation:Enum=Pods;Services;LoadBalancers
type AddressUse string

// The uses of addresses.
const (
	AddressesForPods          AddressUse = "Pods"
	AddressesForServices      AddressUse = "Services"
	AddressesForLoadBalancers AddressUse = "LoadBalancers"
)

// Prefix is a range of addresses written as a prefix, such as 10.64.0.0/12 or fd00:64::/32.
//
// +kubebuilder:validation:MaxLength=43
// +kubebuilder:validation:XValidation:rule="isCIDR(self) && cidr(self).masked() == cidr(self)",message="write a prefix without bits beyond its length, such as 10.64.0.0/12 or fd00:64::/32"
type Prefix string

// FleetAddresses are ranges that clusters get theirs for one use from.
type FleetAddresses struct {
	// name tells the pool from others in messages and metrics.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// use is what the addresses are for.
	// +required
	Use AddressUse `json:"use"`

	// prefixes are the addresses, of either family.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Prefixes []Prefix `json:"prefixes"`

	// reserved are parts of prefixes that no cluster gets.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=256
	Reserved []Prefix `json:"reserved,omitempty"`
}

// ClusterClassSizes say how large the ranges of some clusters are.
type ClusterClassSizes struct {
	// name tells the class from others in messages and metrics.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// clusterSelector selects Clusters by their labels; empty selects all.
	// +optional
	ClusterSelector metav1.LabelSelector `json:"clusterSelector,omitempty,omitzero"`

	// pods are the lengths of the prefixes that a cluster gets for pods; left out, it gets none
	// and keeps what the Cluster names itself.
	// +optional
	Pods PrefixLengths `json:"pods,omitempty,omitzero"`
	// services are those for Services.
	// +optional
	Services PrefixLengths `json:"services,omitempty,omitzero"`
	// loadBalancers are those for Services of type LoadBalancer.
	// +optional
	LoadBalancers PrefixLengths `json:"loadBalancers,omitempty,omitzero"`
}

// PrefixLengths are lengths of prefixes in bits, one for each family; 0 is none of it.
type PrefixLengths struct {
	// ipv4 is the length of an IPv4 prefix: 16 is 65,536 addresses.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=32
	IPv4 int32 `json:"ipv4,omitempty"`

	// ipv6 is the length of an IPv6 prefix.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=128
	IPv6 int32 `json:"ipv6,omitempty"`
}

// FleetPoolStatus is what clusters hold, and how much is left.
type FleetPoolStatus struct {
	// observedGeneration is the generation of the spec that the status is of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// holdings are what clusters hold, and what rests. Whoever gives addresses writes here
	// first, with the resource version: what is here belongs to somebody.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8192
	Holdings []Holding `json:"holdings,omitempty"`

	// waiting are Clusters that get nothing, and why: the first 64 by name.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Waiting []WaitingCluster `json:"waiting,omitempty"`

	// usage says for each class, use and family how many ranges are left.
	// +optional
	// +listType=atomic
	Usage []PoolUsage `json:"usage,omitempty"`

	// conditions: Accepted (the spec has no fault), Available (no class has run out of
	// ranges, or will within 30 days), Disjoint (no two clusters have the same addresses) and
	// Ready, which sums them up.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Holding is what a cluster holds, or held.
type Holding struct {
	// cluster is the name of the Cluster.
	// +required
	Cluster string `json:"cluster"`
	// uid is the Cluster's UID: one made anew is another cluster.
	// +required
	UID string `json:"uid"`
	// id is the cluster's number in the fleet.
	// +optional
	ID int32 `json:"id,omitempty"`
	// pods are the cluster's ranges for pods, as prefixes.
	// +optional
	// +listType=atomic
	Pods []string `json:"pods,omitempty"`
	// services are the cluster's ranges for Services.
	// +optional
	// +listType=atomic
	Services []string `json:"services,omitempty"`
	// loadBalancers are the cluster's ranges for Services of type LoadBalancer.
	// +optional
	// +listType=atomic
	LoadBalancers []string `json:"loadBalancers,omitempty"`
	// since is when the cluster got them.
	// +required
	Since metav1.Time `json:"since"`
	// freed is when the cluster gave them back; they rest.
	// +optional
	Freed *metav1.Time `json:"freed,omitempty"`
}

// WaitingCluster is a Cluster that gets nothing.
type WaitingCluster struct {
	// cluster is the name of the Cluster.
	// +required
	Cluster string `json:"cluster"`
	// message says why, and what to do.
	// +required
	Message string `json:"message"`
}

// PoolUsage says how many ranges of a class's length are left.
type PoolUsage struct {
	// class is the class of clusters whose lengths count.
	// +required
	Class string `json:"class"`
	// use is what the ranges are for.
	// +required
	Use AddressUse `json:"use"`
	// family is IPv4 or IPv6.
	// +required
	// +kubebuilder:validation:Enum=IPv4;IPv6
	Family string `json:"family"`
	// length is the length of the ranges' prefixes.
	// +required
	Length int32 `json:"length"`
	// total is how many there are.
	// +required
	Total int64 `json:"total"`
	// free is how many a cluster could get now.
	// +required
	Free int64 `json:"free"`
	// resting is how many were given back and rest.
	// +optional
	Resting int64 `json:"resting,omitempty"`
	// runsOut is when the last one goes, if clusters come as they did in the last 30 days.
	// +optional
	RunsOut *metav1.Time `json:"runsOut,omitempty"`
}

// FleetPool gives the clusters of its namespace their numbers and addresses.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=fairlead
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type FleetPool struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// spec says which numbers and addresses there are.
	// +required
	Spec FleetPoolSpec `json:"spec"`
	// status is what clusters hold.
	// +optional
	Status FleetPoolStatus `json:"status,omitempty"`
}

// FleetPoolList is a list of FleetPools.
//
// +kubebuilder:object:root=true
type FleetPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []FleetPool `json:"items"`
}

// GetConditions returns the object's conditions.
func (p *FleetPool) GetConditions() []metav1.Condition { return p.Status.Conditions }

func init() {
	register(&FleetPool{}, &FleetPoolList{})
}
