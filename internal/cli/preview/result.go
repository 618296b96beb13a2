// SPDX-License-Identifier: Apache-2.0

package preview

import (
	"fmt"
	"slices"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/stack"
)

// Action is what becomes of a cluster.
type Action string

// The actions.
const (
	// Install gives a cluster its network.
	Install Action = "Install"
	// Update changes what the cluster runs: its agents restart.
	Update Action = "Update"
	// Take gives a cluster of another NetworkStack to this one, as it is or changed.
	Take Action = "Take"
	// Keep changes nothing.
	Keep Action = "Keep"
	// Pinned changes nothing because the cluster's owners have pinned it.
	Pinned Action = "Pinned"
	// Leave changes nothing because the Cluster is being deleted.
	Leave Action = "Leave"
	// HandOver gives the cluster to another NetworkStack that selects it.
	HandOver Action = "HandOver"
	// Uninstall takes the network from the cluster.
	Uninstall Action = "Uninstall"
	// Refused changes nothing because another NetworkStack holds the cluster.
	Refused Action = "Refused"
)

// Changes says whether an action changes anything.
func (a Action) Changes() bool {
	return slices.Contains([]Action{Install, Update, Take, HandOver, Uninstall}, a)
}

// Cluster is what becomes of one cluster.
type Cluster struct {
	Name   string `json:"name"`
	Wave   string `json:"wave,omitempty"`
	Action Action `json:"action"`
	// Changes name the fields that get other values, and what that does.
	Changes []Field `json:"changes,omitempty"`
	// Restarts is the number of agents that restart.
	Restarts int32 `json:"restarts,omitempty"`
	// Away says that the cluster's API server does not answer now: it follows when it does.
	Away bool `json:"away,omitempty"`
	// Why says more of the action.
	Why string `json:"why,omitempty"`
}

// Field is a field of a cluster's configuration that gets another value.
type Field struct {
	Field  string `json:"field"`
	From   string `json:"from"`
	To     string `json:"to"`
	Effect string `json:"effect"`
}

// Wave is a wave with its clusters, sorted by name.
type Wave struct {
	Name     string    `json:"name"`
	Approval bool      `json:"approval,omitempty"`
	Clusters []Cluster `json:"clusters"`
}

// Result is what applying a NetworkStack would do.
type Result struct {
	Namespace string `json:"namespace"`
	Stack     string `json:"stack"`
	// New says that the stack is not there yet.
	New bool `json:"new,omitempty"`
	// Version that clusters shall run, From the one of the stack that is there.
	Version string `json:"version"`
	From    string `json:"from,omitempty"`
	// Waves in their order, each with at least one cluster.
	Waves []Wave `json:"waves"`
	// Others are clusters of no wave: those that leave the stack, or are refused to it.
	Others []Cluster `json:"others,omitempty"`
	// Refusals say why the spec, or a part of it, cannot be acted on.
	Refusals []string `json:"refusals,omitempty"`
	// Notes are what a person must know to read this.
	Notes []string `json:"notes,omitempty"`
}

// Make says what applying a NetworkStack would do.
func Make(in Input) (*Result, error) {
	p, err := plan(in)
	if err != nil {
		return nil, err
	}
	out := &Result{
		Namespace: in.Wanted.Namespace, Stack: in.Wanted.Name, New: in.Live == nil, Version: p.Version,
	}
	if in.Live != nil {
		out.From = in.Live.Status.Version
	}
	if p.refusal != nil {
		// Nothing changes then: what is installed stays.
		out.Refusals = []string{p.refusal.Error()}
		return out, nil
	}
	existing := map[string]*v1alpha1.ClusterStack{}
	for i := range in.ClusterStacks {
		existing[in.ClusterStacks[i].Name] = &in.ClusterStacks[i]
	}
	held := map[string]bool{}
	for _, w := range p.waves {
		wave := Wave{Name: w.Name, Approval: w.Approval}
		for _, c := range w.Clusters {
			held[c.Cluster] = true
			one := become(in.Wanted.Name, existing[c.Cluster], c)
			one.Wave = w.Name
			wave.Clusters = append(wave.Clusters, one)
		}
		out.Waves = append(out.Waves, wave)
	}
	for _, c := range p.Conflicts {
		held[c.Cluster] = true
		out.Others = append(out.Others, Cluster{Name: c.Cluster, Action: Refused, Why: fmt.Sprintf("NetworkStack %s, which is older, holds it", c.Holder)})
	}
	out.Others = append(out.Others, leaving(in, held, p.versions)...)
	out.Notes = notes(in)
	return out, nil
}

// become is what becomes of a cluster that the stack holds.
func become(stackName string, cs *v1alpha1.ClusterStack, p stack.ClusterPreview) Cluster {
	out := Cluster{Name: p.Cluster, Away: p.Away}
	for _, c := range p.Changes {
		out.Changes = append(out.Changes, Field{Field: c.Field, From: c.From, To: c.To, Effect: c.Effect})
	}
	switch p.Action {
	case stack.PreviewLeaving:
		out.Action, out.Why = Leave, "the Cluster is being deleted"
		return out
	case stack.PreviewInstall:
		out.Action = Install
		if cs != nil && cs.DeletionTimestamp != nil {
			out.Why = "once its present network is removed"
		}
		return out
	case stack.PreviewPinned:
		out.Action, out.Why = Pinned, "its owners keep it at "+p.From
		return out
	case stack.PreviewChange:
		out.Action = Update
		if p.Restarts {
			out.Restarts = cs.Status.Nodes.Total
		}
	default:
		out.Action = Keep
	}
	if cs.Spec.NetworkStack != stackName {
		out.Action, out.Why = Take, "NetworkStack "+cs.Spec.NetworkStack+" has it now"
	}
	return out
}

// leaving are the clusters that the stack has and would no longer hold.
func leaving(in Input, held map[string]bool, versions stack.Versions) (out []Cluster) {
	others := slices.DeleteFunc(slices.Clone(in.Stacks), func(s v1alpha1.NetworkStack) bool { return s.Name == in.Wanted.Name })
	for i := range in.ClusterStacks {
		cs := &in.ClusterStacks[i]
		if cs.Spec.NetworkStack != in.Wanted.Name || held[cs.Name] || cs.DeletionTimestamp != nil {
			continue
		}
		c := Cluster{Name: cs.Name, Wave: cs.Spec.Wave, Action: Uninstall, Why: "the stack no longer selects it: pods that run there lose their network"}
		if at := slices.IndexFunc(in.Clusters, func(c stack.Cluster) bool { return c.Name == cs.Name }); at >= 0 {
			if heir := stack.Heir(in.Wanted.Name, others, in.Clusters[at], versions); heir != "" {
				c.Action, c.Why = HandOver, "NetworkStack "+heir+" takes it"
			}
		}
		out = append(out, c)
	}
	return out
}

// notes are what holds a change back, or leaves a preview in doubt.
func notes(in Input) (out []string) {
	rollout := in.Wanted.Spec.Rollout
	switch {
	case in.Wanted.Spec.Paused:
		out = append(out, "spec.paused holds every change back until it is false")
	case rollout.Paused:
		out = append(out, "spec.rollout.paused lets no cluster begin until it is false (`fairleadctl rollout resume "+in.Wanted.Name+"`)")
	}
	if len(rollout.Windows) > 0 {
		out = append(out, "clusters begin only in the windows of spec.rollout.windows")
	}
	if in.Live != nil && in.Live.Status.ObservedGeneration != in.Live.Generation {
		out = append(out, "the operator has not seen the newest change of the stack that is there: clusters may change meanwhile")
	}
	if in.Wanted.Spec.Version != "" && len(in.available()) == 0 {
		out = append(out, "the operator does not say which versions it can install: whether it has "+in.Wanted.Spec.Version+" shows when the stack is applied")
	}
	return out
}
