// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// maxNamed bounds the nodes that a message names.
const maxNamed = 5

// rollout is what runs in a cluster.
type rollout struct {
	// version that every agent should run.
	version    string
	agents     *appsv1.DaemonSet
	controller *appsv1.Deployment
	// nodes are the names of the cluster's Nodes, sorted.
	nodes    []string
	networks map[string]*v1alpha1.NodeNetwork
}

// verdict is what a rollout amounts to.
type verdict struct {
	counts v1alpha1.NodeCounts
	done   bool
	// unserved are the nodes whose agents do not balance Services (yet).
	unserved []string
	// crowded are the nodes with little room left for Services, room what the first one says.
	crowded []string
	room    string
	reason  string
	message string
}

// observeRollout reads what runs in the cluster and reports it.
func (r *Reconciler) observeRollout(ctx context.Context, s *scope) error {
	if err := r.watch(s, &v1alpha1.NodeNetwork{}); err != nil {
		return err
	}
	o := rollout{version: s.cs.Spec.Version, agents: &appsv1.DaemonSet{}, controller: &appsv1.Deployment{}, networks: map[string]*v1alpha1.NodeNetwork{}}
	// Until a rollout is through, the cache could still show the one before it.
	var reader client.Reader = s.conn.Cached
	if s.acted || !meta.IsStatusConditionTrue(s.cs.Status.Conditions, v1alpha1.ConditionRolledOut) {
		reader = s.conn.Live
	}
	for name, obj := range map[string]client.Object{agentName: o.agents, controllerName: o.controller} {
		key := client.ObjectKey{Namespace: Namespace, Name: name}
		if err := reader.Get(ctx, key, obj); client.IgnoreNotFound(err) != nil {
			return s.fail(v1alpha1.ConditionRolledOut, v1alpha1.ReasonError, fmt.Errorf("reading %s of the cluster: %w", key, err))
		}
	}
	for i := range s.nodes {
		o.nodes = append(o.nodes, s.nodes[i].Name)
	}
	slices.Sort(o.nodes)
	var networks v1alpha1.NodeNetworkList
	err := s.conn.Cached.List(ctx, &networks)
	if err != nil && !meta.IsNoMatchError(err) {
		return s.fail(v1alpha1.ConditionRolledOut, v1alpha1.ReasonError, fmt.Errorf("listing the cluster's NodeNetworks: %w", err))
	}
	for i := range networks.Items {
		o.networks[networks.Items[i].Name] = &networks.Items[i]
	}
	v := o.assess()
	s.rollout = v
	s.cs.Status.Nodes = v.counts
	s.set(v1alpha1.ConditionRolledOut, v.done, v.reason, v.message)
	s.setAbnormal(v1alpha1.ConditionServiceMapsNearlyFull, len(v.crowded) > 0, v1alpha1.ReasonLittleRoom, fmt.Sprintf(
		"%d of %d nodes have little room left for Services%s; the first says: %s", len(v.crowded), len(o.nodes), named("which", v.crowded), v.room))
	return nil
}

// assess decides whether the wanted version is in force on every node.
func (o *rollout) assess() verdict {
	v := verdict{counts: v1alpha1.NodeCounts{Total: int32(len(o.nodes))}}
	var missing, outdated, unsynced []string
	for _, name := range o.nodes {
		n := o.networks[name]
		if n == nil || !meta.IsStatusConditionTrue(n.Status.Conditions, v1alpha1.ConditionServicesReady) {
			v.unserved = append(v.unserved, name)
		}
		if n != nil {
			v.crowd(name, meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionServiceMapsNearlyFull))
		}
		switch {
		case n == nil:
			missing = append(missing, name)
		case n.Status.AgentVersion != o.version:
			outdated = append(outdated, fmt.Sprintf("%s (%s)", name, orUnknown(n.Status.AgentVersion)))
		case !meta.IsStatusConditionTrue(n.Status.Conditions, v1alpha1.ConditionReady):
			v.counts.Updated++
			unsynced = append(unsynced, name+notReadyBecause(n))
		default:
			v.counts.Updated++
			v.counts.Acknowledged++
		}
	}
	progress := fmt.Sprintf("%d of %d nodes run %s and have acknowledged their state", v.counts.Acknowledged, v.counts.Total, o.version)
	switch {
	case o.controller.Name == "" || o.controller.Status.ObservedGeneration < o.controller.Generation ||
		o.controller.Status.UpdatedReplicas == 0 || o.controller.Status.AvailableReplicas == 0:
		v.reason = v1alpha1.ReasonControllerNotAvailable
		v.message = fmt.Sprintf("no updated replica of Deployment %s/%s is available yet; %s", Namespace, controllerName, progress)
	case len(o.nodes) == 0:
		v.reason, v.message = v1alpha1.ReasonNoNodes, "the cluster has no Node yet"
	case len(missing)+len(outdated)+len(unsynced) > 0:
		v.reason = v1alpha1.ReasonNodesNotReady
		v.message = progress + named("without an agent", missing) + named("with another version", outdated) + named("not in sync", unsynced)
	case !rolledOut(o.agents):
		v.reason = v1alpha1.ReasonProgressing
		v.message = fmt.Sprintf("DaemonSet %s/%s: %d of %d agents are updated, %d available", Namespace, agentName,
			o.agents.Status.UpdatedNumberScheduled, o.agents.Status.DesiredNumberScheduled, o.agents.Status.NumberAvailable)
	default:
		v.done, v.reason, v.message = true, v1alpha1.ReasonAllNodesAcknowledged, progress
	}
	return v
}

// crowd takes into account what a node says of its room.
func (v *verdict) crowd(node string, c *metav1.Condition) {
	if c == nil || c.Status != metav1.ConditionTrue {
		return
	}
	if len(v.crowded) == 0 {
		v.room = c.Message
	}
	v.crowded = append(v.crowded, node)
}

// rolledOut says that every pod of a DaemonSet is of its newest template and available.
func rolledOut(d *appsv1.DaemonSet) bool {
	st := d.Status
	return d.Name != "" && st.ObservedGeneration >= d.Generation &&
		st.UpdatedNumberScheduled == st.DesiredNumberScheduled && st.NumberAvailable == st.DesiredNumberScheduled
}

func orUnknown(version string) string {
	if version == "" {
		return "version unknown"
	}
	return version
}

func notReadyBecause(n *v1alpha1.NodeNetwork) string {
	if c := meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionReady); c != nil && c.Reason != "" {
		return " (" + c.Reason + ")"
	}
	return ""
}

// named is "; what: a, b and 3 more", or nothing.
func named(what string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	more := ""
	if len(names) > maxNamed {
		more = fmt.Sprintf(" and %d more", len(names)-maxNamed)
		names = names[:maxNamed]
	}
	return "; " + what + ": " + strings.Join(names, ", ") + more
}
