// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PoliciesSpec configures how nodes enforce NetworkPolicies and ClusterNetworkPolicies.
type PoliciesSpec struct {
	// entries is how many rows each of a node's maps of policies has room for: one for the
	// addresses that its pods' policies name, one for who may reach whom, one for ports.
	// From 1024 to 4194304; a row takes about 100 bytes once it is used. Default 131072.
	// +optional
	Entries PolicyEntries `json:"entries,omitempty"`

	// peerWait is how long the start of a pod that policies name may wait until every
	// node whose pods have such policies lets it in, so that its first packet is not lost.
	// At most 10s; 0s: it does not wait. Default 500ms.
	// +optional
	PeerWait *PolicyPeerWait `json:"peerWait,omitempty"`
}

// PolicyEntries is the room in each of a node's maps of policies.
//
// +kubebuilder:validation:XValidation:rule="self >= 1024 && self <= 4194304",message="policies.entries must be between 1024 and 4194304: set it to such a number, or leave it out for 131072"
type PolicyEntries int32

// PolicyPeerWait is how long the start of a pod may wait.
//
// +kubebuilder:validation:Type=string
// +kubebuilder:validation:MaxLength=16
// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('10s')",message="policies.peerWait must be a duration from 0s to 10s: set it to such a one, or leave it out for 500ms"
type PolicyPeerWait string

// What is used when fields of spec.cni.policies are not set.
const (
	DefaultPolicyEntries PolicyEntries = 131072
	DefaultPeerWait                    = 500 * time.Millisecond
)

// Duration is the wait; that of an absent or unreadable one is the default.
func (w *PolicyPeerWait) Duration() metav1.Duration {
	if w != nil {
		if d, err := time.ParseDuration(string(*w)); err == nil {
			return metav1.Duration{Duration: d}
		}
	}
	return metav1.Duration{Duration: DefaultPeerWait}
}
