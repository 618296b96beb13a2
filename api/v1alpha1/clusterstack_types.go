// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// ClusterStackFinalizer holds a ClusterStack until its cluster is clean.
	ClusterStackFinalizer = "fairlead.io/uninstall"
	// NetworkStackLabel names on a ClusterStack the NetworkStack that made it.
	NetworkStackLabel = "fairlead.io/network-stack"
	// KubeProxyReturnedAnnotation, with the value true, is how a person says at a
	// ClusterStack that something other than DaemonSet kube-system/kube-proxy balances the
	// cluster's Services again, so that agents may end to do it.
	KubeProxyReturnedAnnotation = "fairlead.io/kube-proxy-returned"
	// TrustRevokedAnnotation, with the value true, is how a person says at a ClusterStack
	// that nobody in the fleet may trust the cluster any more: every CA that it was given
	// is refused from then on. Without the annotation it is given a new one.
	TrustRevokedAnnotation = "fairlead.io/trust-revoked"
)

// ClusterStackSpec is the resolved configuration of one cluster. The operator
// writes it; people change the NetworkStack.
type ClusterStackSpec struct {
	// networkStack is the name of the NetworkStack that holds the cluster.
	// +required
	// +kubebuilder:validation:MinLength=1
	NetworkStack string `json:"networkStack"`

	// clusterName is the name of the Cluster, which is the ClusterStack's own name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="spec.clusterName cannot change: create another ClusterStack by selecting the other Cluster in the NetworkStack"
	ClusterName string `json:"clusterName"`

	// version of Fairlead that the cluster shall run.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version"`

	// planDigest identifies this configuration.
	// +required
	PlanDigest string `json:"planDigest"`

	// cni configures the pod network, every default filled in.
	// +optional
	CNI CNISpec `json:"cni,omitempty,omitzero"`

	// paused holds back every change to the cluster.
	// +optional
	Paused bool `json:"paused,omitempty"`

	// wave is the wave of the rollout that the cluster belongs to.
	// +optional
	Wave string `json:"wave,omitempty"`

	// adoptOnly is set while the cluster's wave has not begun and nothing is known to be
	// proven on it: what is installed is taken over if it is this configuration, and
	// nothing is changed if it is not.
	// +optional
	AdoptOnly bool `json:"adoptOnly,omitempty"`

	// soak, deadline and gates are those of the NetworkStack's rollout for this cluster.
	// +optional
	Soak metav1.Duration `json:"soak,omitempty,omitzero"`
	// +optional
	Deadline metav1.Duration `json:"deadline,omitempty,omitzero"`
	// +optional
	Gates GatesSpec `json:"gates,omitempty,omitzero"`

	// agents says how the cluster's agents are replaced.
	// +optional
	Agents AgentUpdateSpec `json:"agents,omitempty,omitzero"`

	// driftPolicy and driftIgnore are those of the NetworkStack.
	// +optional
	DriftPolicy DriftPolicy `json:"driftPolicy,omitempty"`
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	DriftIgnore []DriftIgnore `json:"driftIgnore,omitempty"`

	// pinned keeps the cluster at the configuration that it has: rollouts pass it by. It
	// is for the people who own the cluster; the operator never sets it.
	// +optional
	Pinned bool `json:"pinned,omitempty"`

	// override is laid over the configuration that the NetworkStack gives to this
	// cluster. It is for the people who own the cluster; the operator never sets it.
	// +optional
	Override CNIOverride `json:"override,omitempty,omitzero"`
}

// ReleaseStatus reports one Helm release.
type ReleaseStatus struct {
	// name of the release.
	Name string `json:"name"`
	// chartVersion is the version of the chart that was released last.
	// +optional
	ChartVersion string `json:"chartVersion,omitempty"`
	// revision of the release, counted by Helm from 1.
	// +optional
	Revision int32 `json:"revision,omitempty"`
	// state: Absent, Outdated, Unmarked, Drifted, Current, Failed, Interrupted, Unreadable or
	// Removing.
	State string `json:"state"`
	// digest identifies the chart and the values that were released last.
	// +optional
	Digest string `json:"digest,omitempty"`
}

// NodeCounts counts the nodes of a cluster.
type NodeCounts struct {
	// total is the number of Nodes of the cluster.
	// +optional
	Total int32 `json:"total"`
	// updated is the number of Nodes whose agent reports the wanted version.
	// +optional
	Updated int32 `json:"updated"`
	// acknowledged is the number of updated Nodes whose agent has acknowledged its state.
	// +optional
	Acknowledged int32 `json:"acknowledged"`
}

// Environment is what a cluster consists of, as far as versions of Fairlead depend on it.
type Environment struct {
	// kubernetes are the versions of the nodes' kubelets, sorted, each once; at most 16.
	// +listType=atomic
	// +optional
	Kubernetes []string `json:"kubernetes,omitempty"`
	// kernels are the releases of the nodes' kernels, sorted, each once; at most 16.
	// +listType=atomic
	// +optional
	Kernels []string `json:"kernels,omitempty"`
}

// MaxIntermediates is the greatest number of a cluster's CAs that are valid at a time.
const MaxIntermediates = 64

// TrustStatus is what the cluster was given to be trusted by.
type TrustStatus struct {
	// root is the newest root in the cluster's bundle: the SHA-256 of its public key.
	// +optional
	Root string `json:"root,omitempty"`
	// rootSince is when the bundle got it.
	// +optional
	RootSince *metav1.Time `json:"rootSince,omitempty"`
	// intermediates are the CAs that the cluster was given, that have not ended and that
	// were not revoked. They are written down before the cluster gets them, so that they
	// can be revoked while the cluster does not answer.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +optional
	Intermediates []IssuedCA `json:"intermediates,omitempty"`
}

// IssuedCA is a CA that a cluster was given.
type IssuedCA struct {
	// fingerprint is the SHA-256 of its public key (the DER of SubjectPublicKeyInfo), in
	// hexadecimal digits.
	Fingerprint string `json:"fingerprint"`
	// notAfter is the end of its certificate.
	NotAfter metav1.Time `json:"notAfter"`
}

// ClusterStackStatus is what was observed in the cluster.
type ClusterStackStatus struct {
	// observedGeneration is the generation of the spec that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// releases reports every Helm release of Fairlead in the cluster.
	// +listType=map
	// +listMapKey=name
	// +optional
	Releases []ReleaseStatus `json:"releases,omitempty"`

	// nodes counts the cluster's nodes.
	// +optional
	Nodes NodeCounts `json:"nodes,omitempty"`

	// environment is what the cluster consists of.
	// +optional
	Environment Environment `json:"environment,omitempty,omitzero"`

	// trust is what the cluster was given to be trusted by.
	// +optional
	Trust TrustStatus `json:"trust,omitempty,omitzero"`

	// update is how far the cluster is with its configuration.
	// +optional
	Update UpdateStatus `json:"update,omitempty,omitzero"`

	// proven is the last configuration that passed its gates.
	// +optional
	Proven *ProvenStatus `json:"proven,omitempty"`

	// previous is what was proven before proven, with another configuration.
	// +optional
	Previous *ProvenStatus `json:"previous,omitempty"`

	// conditions: Ready, Connected, Trusted, Released, RolledOut, Proven; KubeProxyRemoved
	// while Fairlead balances Services; Uninstalled while the object is deleted; Drifted,
	// ServiceMapsNearlyFull, Reconciling and Stalled while they are True.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ClusterStack is the network of one cluster: its resolved configuration and what
// was observed of it. It has the name of its Cluster. The operator makes it for
// every Cluster that a NetworkStack selects; deleting it uninstalls Fairlead from
// the cluster.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,shortName=cstack,categories=fairlead
// +kubebuilder:printcolumn:name="Stack",type=string,JSONPath=`.spec.networkStack`
// +kubebuilder:printcolumn:name="Wave",type=string,JSONPath=`.spec.wave`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.spec.version`
// +kubebuilder:printcolumn:name="Proven",type=string,JSONPath=`.status.proven.version`
// +kubebuilder:printcolumn:name="Nodes",type=integer,JSONPath=`.status.nodes.total`
// +kubebuilder:printcolumn:name="Up",type=integer,JSONPath=`.status.nodes.acknowledged`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Phase",type=string,priority=1,JSONPath=`.status.update.phase`
// +kubebuilder:printcolumn:name="Connected",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Connected")].status`
// +kubebuilder:printcolumn:name="Pinned",type=boolean,priority=1,JSONPath=`.spec.pinned`
// +kubebuilder:printcolumn:name="Deleted",type=string,priority=1,JSONPath=`.metadata.deletionTimestamp`
// +kubebuilder:printcolumn:name="Generation",type=integer,priority=1,JSONPath=`.metadata.generation`
// +kubebuilder:printcolumn:name="Observed",type=integer,priority=1,JSONPath=`.status.observedGeneration`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == self.spec.clusterName",message="metadata.name must be the same as spec.clusterName: a ClusterStack has the name of its Cluster"
type ClusterStack struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +required
	Spec ClusterStackSpec `json:"spec"`
	// An object that the operator has not seen is in progress for kstatus, too, which takes
	// one without a status for current.
	//
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status ClusterStackStatus `json:"status,omitempty"`
}

// ClusterStackList is a list of ClusterStack.
//
// +kubebuilder:object:root=true
type ClusterStackList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterStack `json:"items"`
}

// GetConditions returns the object's conditions.
func (s *ClusterStack) GetConditions() []metav1.Condition { return s.Status.Conditions }

func init() {
	register(&ClusterStack{}, &ClusterStackList{})
}
