// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// Fleet is what a management cluster says of its stacks and clusters, as -o json prints it.
type Fleet struct {
	// Stacks are sorted by namespace and name.
	Stacks []Stack `json:"stacks"`
	// Clusters are sorted by namespace, stack, wave in the stack's order, and name.
	Clusters []Cluster `json:"clusters"`
}

// Stack is a NetworkStack.
type Stack struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Version that the clusters shall run.
	Version string `json:"version,omitempty"`
	// Current is false while the operator has not seen the newest change of the spec: the
	// rest is about the one before.
	Current bool `json:"current"`
	// Deleting says that the stack is being removed from its clusters.
	Deleting bool `json:"deleting,omitempty"`
	// Ready, Reason and Message are those of the condition Ready.
	Ready   bool   `json:"ready"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Rollout is how far the newest change has come.
	Rollout v1alpha1.RolloutStatus `json:"rollout"`
}

// Cluster is a ClusterStack.
type Cluster struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Stack     string `json:"stack"`
	Wave      string `json:"wave,omitempty"`
	// Version that the cluster shall run now, Proven the one that packets have proven.
	Version string `json:"version"`
	Proven  string `json:"proven,omitempty"`
	// Nodes are all of the cluster's, Up those whose agent runs the version and has
	// acknowledged its state.
	Nodes int32 `json:"nodes"`
	Up    int32 `json:"up"`
	// Phase is how far the cluster is with its configuration.
	Phase v1alpha1.UpdatePhase `json:"phase,omitempty"`
	// Ready is that of the condition at this generation, with Reason and Message.
	Ready   bool   `json:"ready"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Away says that the cluster's API server does not answer.
	Away     bool `json:"away,omitempty"`
	Pinned   bool `json:"pinned,omitempty"`
	Deleting bool `json:"deleting,omitempty"`
	// Created is when the cluster got its ClusterStack. Age is the time since then in words
	// where only that is known.
	Created time.Time `json:"created"`
	Age     string    `json:"-"`
}

// StackOf is what a NetworkStack says.
func StackOf(s *v1alpha1.NetworkStack) Stack {
	out := Stack{
		Namespace: s.Namespace, Name: s.Name, Version: cmp.Or(s.Status.Version, s.Spec.Version),
		Current: s.Status.ObservedGeneration == s.Generation, Deleting: s.DeletionTimestamp != nil, Rollout: s.Status.Rollout,
	}
	out.Ready, out.Reason, out.Message = readiness(s.Status.Conditions)
	out.Ready = out.Ready && out.Current
	return out
}

// readiness is the condition Ready.
func readiness(conditions []metav1.Condition) (ready bool, reason, message string) {
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
	if c == nil {
		return false, "", ""
	}
	return c.Status == metav1.ConditionTrue, c.Reason, c.Message
}

// Sort puts a fleet in its order, which makes equal fleets print as equal text.
func (f *Fleet) Sort() {
	slices.SortFunc(f.Stacks, func(a, b Stack) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	type wave struct{ namespace, stack, name string }
	place := map[wave]int{}
	for _, s := range f.Stacks {
		for i, w := range s.Rollout.Waves {
			place[wave{s.Namespace, s.Name, w.Name}] = i - len(s.Rollout.Waves)
		}
	}
	slices.SortFunc(f.Clusters, func(a, b Cluster) int {
		return cmp.Or(
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Stack, b.Stack),
			cmp.Compare(place[wave{a.Namespace, a.Stack, a.Wave}], place[wave{b.Namespace, b.Stack, b.Wave}]),
			cmp.Compare(a.Name, b.Name))
	})
}

// Progress is how many of a stack's clusters have proven the configuration, of how many.
func (s *Stack) Progress() (proven, clusters int32) {
	for _, w := range s.Rollout.Waves {
		proven += w.Proven
		clusters += w.Clusters
	}
	return proven, clusters
}

// Phase is the rollout's phase in a word.
func (s *Stack) Phase() string {
	switch {
	case s.Deleting:
		return "Uninstalling"
	case !s.Current:
		return "Pending"
	case s.Rollout.Phase == "":
		return "Unknown"
	}
	return string(s.Rollout.Phase)
}

// state is a cluster's phase in a word.
func (c *Cluster) state() string {
	switch {
	case c.Deleting:
		return "Uninstalling"
	case c.Away:
		return "Away"
	case c.Pinned:
		return "Pinned"
	}
	return cmp.Or(string(c.Phase), "-")
}

// Judge fills in Ready, Reason and Message from the condition Ready: one that speaks of
// another generation, or of a cluster that is being cleaned, says nothing of now.
func (c *Cluster) Judge(ready, observed bool, reason, message string) {
	c.Ready, c.Reason, c.Message = ready && observed && !c.Deleting, reason, message
	switch {
	case c.Deleting:
		c.Reason, c.Message = v1alpha1.ReasonDeleting, "the network is being removed from the cluster"
	case !observed:
		c.Reason, c.Message = v1alpha1.ReasonProgressing, "the operator has not acted on the newest configuration yet"
	}
}
