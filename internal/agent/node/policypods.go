// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/fairlead-io/fairlead/internal/agent/policy"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// RestorePod tells of a pod that an earlier run has connected.
func (n *Node) RestorePod(key string, pod policy.Pod) {
	if p := n.policies; p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.setPod(key, pod)
	}
}

func (p *policies) setPod(key string, pod policy.Pod) {
	if p.engine != nil {
		p.engine.SetPod(key, pod)
		return
	}
	p.early.pods[key] = pod
}

// ForgetPod tells that a pod is gone.
func (n *Node) ForgetPod(ctx context.Context, key string) {
	p := n.policies
	if p == nil {
		return
	}
	p.do(ctx, func() {
		if p.engine != nil {
			p.engine.RemovePod(key)
		}
		delete(p.early.pods, key)
	})
}

// ErrPolicyUnknown is wrapped by PreparePod's error when the policies of a pod are not known
// yet: the pod may be connected later.
var ErrPolicyUnknown = errors.New("try again")

// AwaitPod waits until all policies that select a pod are known, or the context ends.
func (n *Node) AwaitPod(ctx context.Context, pod policy.Pod) error {
	return n.wait(ctx, pod, func(bool) error { return nil })
}

// IsPeer says whether policies on some node name a pod of this one as a peer.
func (n *Node) IsPeer(pod policy.Pod) bool {
	p := n.policies
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.engine == nil {
		return false
	}
	_, peer := p.engine.Subject(pod.Namespace, pod.Name, pod.UID)
	return peer
}

// PreparePod has the policies of a pod in force before the pod is connected. It waits as
// AwaitPod does. After an error nothing is left of the pod.
func (n *Node) PreparePod(ctx context.Context, key string, pod policy.Pod) error {
	return n.wait(ctx, pod, func(in bool) error { return n.policies.prepare(ctx, key, pod, in) })
}

// wait calls a function, with the lock held, when the policies of a pod are known. in: its
// namespace has some.
func (n *Node) wait(ctx context.Context, pod policy.Pod, then func(in bool) error) error {
	p := n.policies
	if p == nil {
		return nil
	}
	for {
		p.mu.Lock()
		ready, in := p.ready(pod)
		if ready {
			err := then(in)
			p.mu.Unlock()
			return err
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", p.lacks(pod), ErrPolicyUnknown)
		case <-changed:
		}
	}
}

// ready says whether all is known that matters to a pod. A pod of a namespace without policies
// waits for nobody else's.
func (p *policies) ready(pod policy.Pod) (ready, in bool) {
	if p.dp == nil {
		return false, false
	}
	in, scoped := p.engine.Scope(pod.Namespace)
	if in = in && pod.Name != ""; !scoped || !in {
		return scoped, in
	}
	known, _ := p.engine.Subject(pod.Namespace, pod.Name, pod.UID)
	return known && p.whole, in
}

// prepare brings a pod's policies into force.
func (p *policies) prepare(ctx context.Context, key string, pod policy.Pod, in bool) (err error) {
	p.engine.SetPod(key, pod)
	if p.whole {
		err = p.enforce(ctx)
	}
	if !in && (err != nil || !p.whole) { // no policy can matter to it: it waits for nothing else
		err = p.dp.UpdatePolicies(ctx, datapath.PolicyUpdate{Pods: unpoliced(pod.Addresses)})
	}
	if err != nil {
		p.engine.RemovePod(key)
	}
	return err
}

func unpoliced(addresses []netip.Addr) map[netip.Addr]datapath.PodPolicy {
	out := make(map[netip.Addr]datapath.PodPolicy, len(addresses))
	for _, a := range addresses {
		out[a.Unmap()] = datapath.PodPolicy{}
	}
	return out
}

// lacks says what a pod waits for.
func (p *policies) lacks(pod policy.Pod) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	scoped := false
	if p.engine != nil {
		_, scoped = p.engine.Scope(pod.Namespace)
	}
	switch {
	case p.dp == nil || !scoped:
		return errors.New("no controller has told yet which namespaces have network policies")
	case p.failed != nil:
		return fmt.Errorf("policies are not all in force: %w", p.failed)
	case !p.whole:
		return errors.New("policies are known and not in force yet")
	}
	return fmt.Errorf("namespace %s has network policies, and no controller has told yet which of them select this pod (UID %s)", pod.Namespace, pod.UID)
}
