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

// PreparePod has the policies of a pod in force before the pod is connected. It waits until
// all that select the pod are known, or the context ends. peer: policies on some node name
// the pod as a peer. After an error nothing is left of the pod.
func (n *Node) PreparePod(ctx context.Context, key string, pod policy.Pod) (peer bool, err error) {
	p := n.policies
	if p == nil {
		return false, nil
	}
	for {
		done, peer, wait, err := p.prepare(ctx, key, pod)
		if done || err != nil {
			return peer, err
		}
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("%w: %w", p.lacks(pod), ErrPolicyUnknown)
		case <-wait:
		}
	}
}

// prepare is one attempt of PreparePod; wait is closed when another one may do better.
func (p *policies) prepare(ctx context.Context, key string, pod policy.Pod) (done, peer bool, wait <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	in, scoped := false, false
	if p.engine != nil {
		in, scoped = p.engine.Scope(pod.Namespace)
		in = in && pod.Name != ""
	}
	switch {
	case p.dp == nil || !scoped || in && !p.whole:
		return false, false, p.changed, nil
	case in:
		known := false
		if known, peer = p.engine.Subject(pod.Namespace, pod.Name, pod.UID); !known {
			return false, false, p.changed, nil
		}
	}
	p.engine.SetPod(key, pod)
	if p.whole {
		err = p.enforce(ctx)
	}
	if !in && (err != nil || !p.whole) { // no policy can matter to it: it waits for nothing else
		err = p.dp.UpdatePolicies(ctx, datapath.PolicyUpdate{Pods: unpoliced(pod.Addresses)})
	}
	if err != nil {
		p.engine.RemovePod(key)
		return false, false, nil, err
	}
	return true, peer, nil, nil
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
