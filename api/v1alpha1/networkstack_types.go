// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NetworkStackFinalizer holds a NetworkStack until every cluster that it holds is clean.
const NetworkStackFinalizer = "fairlead.io/clusterstacks"

// NetworkStackSpec is the network that every selected cluster shall have.
//
// +kubebuilder:validation:XValidation:rule="(has(self.allClusters) && self.allClusters) || (has(self.clusterSelector) && ((has(self.clusterSelector.matchLabels) && size(self.clusterSelector.matchLabels) > 0) || (has(self.clusterSelector.matchExpressions) && size(self.clusterSelector.matchExpressions) > 0)))",message="spec.clusterSelector is empty: name the labels of the Clusters in matchLabels or matchExpressions, or set spec.allClusters to true to select every Cluster of the namespace"
// +kubebuilder:validation:XValidation:rule="!(has(self.allClusters) && self.allClusters && has(self.clusterSelector) && ((has(self.clusterSelector.matchLabels) && size(self.clusterSelector.matchLabels) > 0) || (has(self.clusterSelector.matchExpressions) && size(self.clusterSelector.matchExpressions) > 0)))",message="spec.allClusters and spec.clusterSelector exclude each other: remove one of them"
type NetworkStackSpec struct {
	// version of Fairlead that the clusters shall run, for example "v0.1.0". Default:
	// the operator's own version, the only one that this operator can install.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^v(0|[1-9][0-9]*)\\\\.(0|[1-9][0-9]*)\\\\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?$')",message="spec.version must be a semantic version with a leading v, such as v0.1.0: correct it, or leave it out for the operator's own version"
	Version string `json:"version,omitempty"`

	// clusterSelector selects Clusters of this namespace by their labels. It may be
	// empty only when allClusters is true.
	// +optional
	ClusterSelector metav1.LabelSelector `json:"clusterSelector,omitempty,omitzero"`

	// allClusters selects every Cluster of this namespace.
	// +optional
	AllClusters bool `json:"allClusters,omitempty"`

	// cni configures the pod network of the selected clusters.
	// +optional
	// +kubebuilder:default={}
	CNI CNISpec `json:"cni,omitempty,omitzero"`

	// overrides change the configuration of some of the selected clusters. Those that
	// match a cluster are applied in their order, so that a later one wins. At most 64.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Overrides []ClusterOverride `json:"overrides,omitempty"`

	// rollout says how a change reaches the clusters.
	// +optional
	Rollout RolloutSpec `json:"rollout,omitempty,omitzero"`

	// driftPolicy says what becomes of objects of Fairlead in the clusters that somebody
	// else changed or deleted: Correct, the default, puts them right; Report names them in
	// the condition Drifted of the ClusterStack.
	// +optional
	DriftPolicy DriftPolicy `json:"driftPolicy,omitempty"`

	// driftIgnore names what may differ. At most 64.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	DriftIgnore []DriftIgnore `json:"driftIgnore,omitempty"`

	// paused holds back every change to the selected clusters; status is still
	// reported. Deleting the NetworkStack uninstalls even while it is paused.
	// +optional
	Paused bool `json:"paused,omitempty"`
}

// ClusterCounts counts the clusters of a NetworkStack.
type ClusterCounts struct {
	// selected is the number of Clusters that the selector matches.
	// +optional
	Selected int32 `json:"selected"`
	// held is the number of selected Clusters that this NetworkStack holds. It is
	// less than selected when another NetworkStack holds some of them.
	// +optional
	Held int32 `json:"held"`
	// ready is the number of held clusters whose ClusterStack is Ready.
	// +optional
	Ready int32 `json:"ready"`
	// stalled is the number of held clusters that wait for a person.
	// +optional
	Stalled int32 `json:"stalled"`
	// unreachable is the number of held clusters whose API server cannot be used now.
	// +optional
	Unreachable int32 `json:"unreachable"`
	// uninstalling is the number of clusters that Fairlead is being removed from.
	// +optional
	Uninstalling int32 `json:"uninstalling"`
}

// PlannedChange is a field that gets another value in some clusters.
type PlannedChange struct {
	// field of the ClusterStacks, such as spec.version.
	Field string `json:"field"`
	// from and to are the values before and after.
	From string `json:"from"`
	To   string `json:"to"`
	// effect says, to a person, what happens and what it needs.
	Effect string `json:"effect"`
	// clusters is the number of clusters that it changes in.
	Clusters int32 `json:"clusters"`
}

// NetworkStackStatus is what was observed of a NetworkStack's clusters.
type NetworkStackStatus struct {
	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// version is the version of Fairlead that the clusters shall run.
	// +optional
	Version string `json:"version,omitempty"`

	// planDigest identifies the plan: the resolved configuration of all held clusters.
	// +optional
	PlanDigest string `json:"planDigest,omitempty"`

	// selectorDigest identifies the selector that the clusters were selected by.
	// +optional
	SelectorDigest string `json:"selectorDigest,omitempty"`

	// availableVersions are the versions that the operator has charts of, highest first.
	// +optional
	// +listType=atomic
	AvailableVersions []string `json:"availableVersions,omitempty"`

	// plan is what changes in clusters that have not begun yet, at most 32 entries.
	// `fairleadctl plan` shows it cluster by cluster.
	// +optional
	// +listType=atomic
	Plan []PlannedChange `json:"plan,omitempty"`

	// clusters counts the clusters.
	// +optional
	Clusters ClusterCounts `json:"clusters,omitempty"`

	// rollout is how far the newest change has come.
	// +optional
	Rollout RolloutStatus `json:"rollout,omitempty,omitzero"`

	// conditions: Ready, Accepted, and while they are True Reconciling and Stalled.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// NetworkStack gives every Cluster that it selects its whole network. It selects
// Cluster API Clusters of its own namespace; one Cluster belongs to one NetworkStack.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=nstack,categories=fairlead
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="Clusters",type=integer,JSONPath=`.status.clusters.selected`
// +kubebuilder:printcolumn:name="Up",type=integer,JSONPath=`.status.clusters.ready`
// +kubebuilder:printcolumn:name="Rollout",type=string,JSONPath=`.status.rollout.phase`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Plan",type=string,priority=1,JSONPath=`.status.planDigest`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 52",message="metadata.name must have at most 52 characters, because names are derived from it: choose a shorter name"
type NetworkStack struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec NetworkStackSpec `json:"spec"`
	// An object that the operator has not seen is in progress for kstatus, too, which takes
	// one without a status for current.
	//
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status NetworkStackStatus `json:"status,omitempty"`
}

// NetworkStackList is a list of NetworkStack.
//
// +kubebuilder:object:root=true
type NetworkStackList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NetworkStack `json:"items"`
}

// GetConditions returns the object's conditions.
func (s *NetworkStack) GetConditions() []metav1.Condition { return s.Status.Conditions }

func init() {
	register(&NetworkStack{}, &NetworkStackList{})
}
