// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NodeNetworkStatus says what the agent of one node runs and holds. It is
// written by whichever controller replica serves that agent.
type NodeNetworkStatus struct {
	// agentVersion is the version that the agent reported when it subscribed.
	// +optional
	AgentVersion string `json:"agentVersion,omitempty"`

	// servedBy is the name of the controller replica (its pod) that the agent is
	// subscribed to, or was last.
	// +optional
	ServedBy string `json:"servedBy,omitempty"`

	// wanted is the digest over every resource that this node's agent should hold.
	// +optional
	Wanted string `json:"wanted,omitempty"`

	// acknowledged is the digest over every resource that this node's agent has
	// acknowledged. The node is in sync when it equals wanted.
	// +optional
	Acknowledged string `json:"acknowledged,omitempty"`

	// podCIDRs are the address ranges that the agent assigns pod addresses from.
	// +optional
	PodCIDRs []string `json:"podCIDRs,omitempty"`

	// conditions: Connected (the agent holds a subscription), Accepted (the Node
	// object can be used as it is), Synced (the agent has acknowledged everything
	// that is wanted), Ready (all of them); ServicesReady (the agent balances Services)
	// while the cluster's agents do that; ServiceMapsNearlyFull while it is True.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// NodeNetwork reports the network state of one node of a workload cluster. Its
// name is the node's name. It is made by Fairlead's controller and is read-only
// for people.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=nnet,categories=fairlead
// +kubebuilder:printcolumn:name="Agent",type=string,JSONPath=`.status.agentVersion`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="PodCIDRs",type=string,JSONPath=`.status.podCIDRs`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NodeNetwork struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +optional
	Status NodeNetworkStatus `json:"status,omitempty"`
}

// NodeNetworkList is a list of NodeNetwork.
//
// +kubebuilder:object:root=true
type NodeNetworkList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodeNetwork `json:"items"`
}

func init() {
	register(&NodeNetwork{}, &NodeNetworkList{})
}
