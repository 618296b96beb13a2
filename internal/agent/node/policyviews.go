// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"slices"

	"github.com/fairlead-io/fairlead/internal/agent/policy"
	"github.com/fairlead-io/fairlead/internal/agent/policy/view"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// PolicyState returns whether policies are in force, and how many are known; not the pods.
func (n *Node) PolicyState() view.Node {
	v := view.Node{Pods: []view.Pod{}}
	p := n.policies
	if p == nil {
		return v
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state(&v)
	return v
}

// Policies returns what this node enforces.
func (n *Node) Policies() view.Node {
	v := view.Node{Pods: []view.Pod{}}
	p := n.policies
	if p == nil {
		v.NotInForce = "this node enforces no network policies (agent flag --policies)"
		return v
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state(&v)
	if p.engine != nil {
		v.Pods = p.engine.Pods()
	}
	return v
}

func (p *policies) state(v *view.Node) {
	switch {
	case p.failed != nil:
		v.NotInForce = p.failed.Error()
	case !p.whole:
		v.NotInForce = "not all is known yet"
	default:
		v.InForce = true
	}
	if p.engine != nil {
		v.Policies, v.PeerSets, v.Addresses = p.engine.Count()
	}
}

// Cause says which rule an id stands for; false for one that this node does not know.
func (n *Node) Cause(id datapath.CauseID) (policy.Rule, bool) {
	p := n.policies
	if p == nil || id == 0 {
		return policy.Rule{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.engine == nil {
		return policy.Rule{}, false
	}
	return p.engine.Cause(id)
}

// Pod returns the addresses of a pod of this node ("namespace/name"); false: it has none here.
func (n *Node) Pod(name string) (policy.Pod, bool) {
	p := n.policies
	if p == nil {
		return policy.Pod{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.engine == nil {
		return policy.Pod{}, false
	}
	return p.engine.Find(name)
}

// TracePolicies explains a connection of a pod of this node, rule by rule, and asks the
// kernel's rows as well.
func (n *Node) TracePolicies(ctx context.Context, q datapath.PolicyQuery) (view.Trace, error) {
	p := n.policies
	if p == nil {
		return view.Trace{}, fmt.Errorf("this node enforces no network policies (agent flag --policies)")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.engine == nil || p.dp == nil {
		return view.Trace{}, fmt.Errorf("the agent is starting: %w", ErrPolicyUnknown)
	}
	t := p.engine.Explain(q)
	switch {
	case q.Pod == q.Peer:
		t.Always = "a pod always reaches itself"
	case q.Direction == datapath.Ingress && slices.Contains(p.own, q.Peer):
		t.Always = "a node always reaches its own pods: the kubelet's probes come from it"
	}
	v, err := p.dp.PolicyVerdict(ctx, q)
	if err != nil {
		return t, fmt.Errorf("the kernel's rows cannot be read: %w", err)
	}
	t.Kernel = &view.Kernel{Policed: v.Policed, Allow: v.Allow}
	if r, ok := p.engine.Cause(v.Cause); ok {
		t.Kernel.Why = r.String()
	}
	t.Differs = t.Allow != v.Allow || t.Why != t.Kernel.Why
	return t, nil
}
