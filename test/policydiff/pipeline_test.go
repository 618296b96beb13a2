// SPDX-License-Identifier: Apache-2.0

package policydiff

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	agent "github.com/fairlead-io/fairlead/internal/agent/policy"
	"github.com/fairlead-io/fairlead/internal/model"
	index "github.com/fairlead-io/fairlead/internal/model/policy"
	"github.com/fairlead-io/fairlead/internal/state"
)

// pipeline is all that stands between the objects and the kernel.
type pipeline struct {
	*world
	*play
	index  *index.Index
	engine *agent.Engine
	seed   []byte
	given  map[string][]byte // what the node has of the controller
	here   map[int]*corev1.Pod
}

func newPipeline(w *world, p *play) *pipeline {
	w.t.Helper()
	seed, err := w.dp.PolicySeed()
	must(w.t, err)
	return &pipeline{world: w, play: p, index: index.NewIndex(), engine: agent.New(seed), seed: seed, given: map[string][]byte{}, here: map[int]*corev1.Pod{}}
}

// sync brings into force what has happened.
func (l *pipeline) sync() {
	l.t.Helper()
	slices.SortFunc(l.touched, func(a, b touched) int { return strings.Compare(a.kind+" "+a.name, b.kind+" "+b.name) })
	l.Shuffle(len(l.touched), func(i, j int) { l.touched[i], l.touched[j] = l.touched[j], l.touched[i] })
	for _, t := range l.touched {
		for _, f := range l.tellIndex(t) {
			if !strings.Contains(f.Message, "no named ports") { // of an ipBlock; the API says the same
				l.t.Fatalf("the index finds fault with %s %s: %+v", t.kind, t.name, f)
			}
		}
	}
	l.touched = nil
	change, err := l.index.Take()
	must(l.t, err)
	l.tellEngine(change.Scopes[index.Shared])
	l.tellEngine(change.Scopes[own])
	arrived := l.movePods()
	if l.chance(5) {
		l.restartAgent()
	}
	must(l.t, l.dp.UpdatePolicies(context.Background(), l.engine.Take()))
	for _, slot := range arrived {
		l.addEndpoint(slot, string(l.here[slot].UID))
	}
	for l.chance(70) && l.engine.Leftovers() {
		must(l.t, l.dp.UpdatePolicies(context.Background(), l.engine.Take()))
	}
}

// restartAgent has another engine hear of everything at once.
func (l *pipeline) restartAgent() {
	l.engine = agent.New(l.seed)
	var all state.Delta
	for name, body := range l.given {
		all.Set = append(all.Set, state.Resource{Name: name, Body: body})
	}
	l.tellEngine(all)
	for slot, p := range l.here {
		l.engine.SetPod(string(p.UID), agent.Pod{Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Addresses: addressesAt(1, slot)})
	}
}

func (l *pipeline) tellIndex(t touched) []model.Finding {
	namespace, name, _ := strings.Cut(t.name, "/")
	switch t.kind {
	case "pod":
		if p := l.Pods[t.name]; p != nil {
			l.index.SetPod(visible(p))
		} else {
			l.index.RemovePod(namespace, name)
		}
	case "node":
		var at []netip.Addr
		for _, a := range l.Nodes[t.name].Status.Addresses {
			at = append(at, netip.MustParseAddr(a.Address))
		}
		l.index.SetNode(t.name, l.Nodes[t.name].Labels, at)
	case "namespace":
		if n := l.Namespaces[t.name]; n != nil {
			l.index.SetNamespace(t.name, n.Labels)
		} else {
			l.index.RemoveNamespace(t.name)
		}
	case "networkpolicy":
		if p := l.NetworkPolicies[t.name]; p != nil {
			return l.index.SetNetworkPolicy(p)
		}
		l.index.RemoveNetworkPolicy(namespace, name)
	case "clusterpolicy":
		if p := l.ClusterPolicies[t.name]; p != nil {
			return l.index.SetClusterNetworkPolicy(p)
		}
		l.index.RemoveClusterNetworkPolicy(t.name)
	}
	return nil
}

// visible is what the controller tells the index of a pod.
func visible(p *corev1.Pod) index.Pod {
	out := index.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Node: p.Spec.NodeName, Labels: p.Labels,
		HostNetwork: p.Spec.HostNetwork, Finished: p.Status.Phase == corev1.PodFailed,
	}
	for _, ip := range p.Status.PodIPs {
		out.Addresses = append(out.Addresses, netip.MustParseAddr(ip.IP))
	}
	for _, port := range p.Spec.Containers[0].Ports {
		out.Ports = append(out.Ports, index.NamedPort{Name: port.Name, Protocol: numberOf(port.Protocol), Port: uint16(port.ContainerPort)})
	}
	return out
}

// tellEngine hands a response over as the agent does: sorted by name, what is new before what
// goes.
func (l *pipeline) tellEngine(d state.Delta) {
	l.t.Helper()
	slices.SortFunc(d.Set, func(a, b state.Resource) int { return strings.Compare(a.Name, b.Name) })
	for _, r := range d.Set {
		o := &state.PolicyObject{}
		must(l.t, proto.Unmarshal(r.Body, o))
		must(l.t, l.engine.Set(r.Name, o))
		l.given[r.Name] = r.Body
	}
	for _, name := range d.Removed {
		l.engine.Remove(name)
		delete(l.given, name)
	}
}

// movePods tells the engine of the pods that went and came, and returns the places of the
// latter, which are yet to be connected.
func (l *pipeline) movePods() (arrived []int) {
	for slot := range slotsHere - 1 {
		one, _ := l.at(1, slot)
		was := l.here[slot]
		if one != nil && was != nil && one.UID == was.UID {
			l.here[slot] = one
			continue
		}
		late := one != nil && l.chance(50) // that it is gone is heard of after its addresses are another's
		if was != nil {
			l.removeEndpoint(slot)
			delete(l.here, slot)
		}
		if was != nil && !late {
			l.engine.RemovePod(string(was.UID))
		}
		if one != nil {
			l.here[slot] = one
			l.engine.SetPod(string(one.UID), agent.Pod{Namespace: one.Namespace, Name: one.Name, UID: string(one.UID), Addresses: addressesAt(1, slot)})
			arrived = append(arrived, slot)
		}
		if was != nil && late {
			l.engine.RemovePod(string(was.UID))
		}
	}
	return arrived
}

// live are the places of pods that run, sorted.
func (l *pipeline) live() []int { return slices.Sorted(maps.Keys(l.here)) }
