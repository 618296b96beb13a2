// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-io/fairlead/internal/agent/policy"
	agentsync "github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

// PolicyDatapath is what this package needs of the kernel's side to enforce policies.
type PolicyDatapath interface {
	// UpdatePolicies brings a change into force. After an error it is not known which part of
	// it is, and the next update is a complete one.
	UpdatePolicies(context.Context, datapath.PolicyUpdate) error
	// PolicySeed is the node's secret that ids are made with; it outlives the agent.
	PolicySeed() ([]byte, error)
	// PolicyVerdict is what the kernel's rows say.
	PolicyVerdict(context.Context, datapath.PolicyQuery) (datapath.PolicyVerdict, error)
}

// policies are the policies on this node's pods on their way to the datapath.
type policies struct {
	observe func(took time.Duration, err error)
	log     *slog.Logger
	inForce chan struct{} // closed when all have been brought into force once
	wake    chan struct{} // capacity 1: something is left to do, see run
	stale   chan struct{} // capacity 1: all are known, from an earlier run

	mu sync.Mutex
	// engine is nil until the datapath is open, which knows the seed. What was told and which
	// pods there are waits for it in early.
	engine *policy.Engine
	early  struct {
		objects map[string]*state.PolicyObject
		pods    map[string]policy.Pod
	}
	dp      PolicyDatapath // nil: it is not open, or its pods are not all known
	known   bool           // all have been told
	settled bool           // and no newer ones are waited for
	whole   bool           // inForce is closed
	failed  error          // of the last update; nil: it is in force
	changed chan struct{}  // closed, and another one made, when something was told
	own     []netip.Addr   // the node's own addresses
}

// EnforcePolicies has the node enforce network policies. It is to be called before anything
// else. observe is told of each change that was brought into force, or was not.
func (n *Node) EnforcePolicies(observe func(took time.Duration, err error)) {
	p := &policies{
		observe: observe, log: n.log, inForce: make(chan struct{}), wake: make(chan struct{}, 1),
		stale: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	p.early.objects, p.early.pods = map[string]*state.PolicyObject{}, map[string]policy.Pod{}
	n.policies = p
}

// ApplyPolicies implements sync.PolicyHandler.
func (n *Node) ApplyPolicies(ctx context.Context, u agentsync.PolicyUpdate) error {
	p := n.policies
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// What is wrong is taken back at once, and must not close pods until then.
	if wrong := p.take(u); wrong != nil || u.Follows {
		return wrong
	}
	return p.enforce(ctx)
}

// take tells the engine of a change.
func (p *policies) take(u agentsync.PolicyUpdate) error {
	var errs []error
	for _, name := range u.Removed {
		if p.engine != nil {
			p.engine.Remove(name)
		}
		delete(p.early.objects, name)
	}
	for _, m := range u.Objects {
		errs = append(errs, p.set(state.PolicyName(m), m))
	}
	if u.Known && !u.Fresh && !p.known {
		signal(p.stale)
	}
	p.known, p.settled = p.known || u.Known, p.settled || u.Known && u.Fresh
	p.told()
	return errors.Join(errs...)
}

func (p *policies) set(name string, m *state.PolicyObject) error {
	if p.engine != nil {
		return p.engine.Set(name, m)
	}
	if err := policy.New(nil).Set(name, m); err != nil {
		return err
	}
	p.early.objects[name] = m
	return nil
}

// told wakes those that wait for something to be told.
func (p *policies) told() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// openPolicies takes over the datapath's seed. Nothing is brought into force before
// startPolicies: the pods that an earlier run has connected are yet to be told.
func (n *Node) openPolicies() error {
	p := n.policies
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.engine != nil {
		return nil
	}
	seed, err := n.dp.PolicySeed()
	if err != nil {
		return err
	}
	p.engine = policy.New(seed)
	for name, m := range p.early.objects {
		if err := p.engine.Set(name, m); err != nil {
			p.log.Warn("a policy object cannot be used", "error", err)
		}
	}
	for key, pod := range p.early.pods {
		p.engine.SetPod(key, pod)
	}
	clear(p.early.objects)
	clear(p.early.pods)
	p.told()
	return nil
}

// startPolicies says that all pods are known that an earlier run has connected.
func (n *Node) startPolicies(ctx context.Context) {
	p := n.policies
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.own = slices.Clone(n.local.Addresses)
	for _, r := range n.local.PodCIDRs {
		p.own = append(p.own, r.Masked().Addr().Next()) // the router's, which the host uses towards pods
	}
	if p.dp != nil {
		return
	}
	p.dp = n.dp
	if err := p.enforce(ctx); err != nil {
		p.log.Warn("policies are not all in force", "error", err)
	}
	p.told()
}

// enforce brings into force what has changed. Before all is known that waits: what an earlier
// run left stays in force, and nothing is opened.
func (p *policies) enforce(ctx context.Context) error {
	if p.dp == nil || !p.known || !p.settled {
		return nil
	}
	if _, scoped := p.engine.Scope(""); !scoped && !p.whole {
		return nil // the controller is of a release that knows no policies yet
	}
	var u datapath.PolicyUpdate
	if complete := !p.whole || p.failed != nil; complete {
		u = p.engine.Complete()
	} else if u = p.engine.Take(); empty(u) {
		return nil
	}
	began := time.Now()
	err := p.dp.UpdatePolicies(ctx, u)
	p.observe(time.Since(began), err)
	if p.failed = err; err != nil {
		signal(p.wake)
		return fmt.Errorf("policies are not all in force: %w", err)
	}
	if !p.whole {
		p.whole = true
		close(p.inForce)
		p.told()
	}
	if p.engine.Leftovers() {
		signal(p.wake)
	}
	return nil
}

// empty says whether an update changes nothing.
func empty(u datapath.PolicyUpdate) bool {
	return len(u.PortTables)+len(u.Tables)+len(u.Classes)+len(u.Pods)+
		len(u.GonePortTables)+len(u.GoneTables)+len(u.GoneClasses)+len(u.GonePods) == 0
}

// PoliciesInForce is closed when all policies have been brought into force for the first
// time. It is nil where none are enforced.
func (n *Node) PoliciesInForce() <-chan struct{} {
	if n.policies == nil {
		return nil
	}
	return n.policies.inForce
}

// policiesWhole says whether pods can be promised that policies hold.
func (n *Node) policiesWhole() bool {
	if n.policies == nil {
		return true
	}
	select {
	case <-n.policies.inForce:
		return true
	default:
		return false
	}
}

// enforceAgain is the pause before an update that failed is tried again.
const enforceAgain = time.Second

// runPolicies does what nobody waits for: it removes what changes left over, tries again what
// failed, and has policies that an earlier run saved brought into force where no controller
// tells newer ones.
func (n *Node) runPolicies(ctx context.Context) {
	p := n.policies
	if p == nil {
		return
	}
	var again, patience <-chan time.Time
	inForce := p.inForce
	for {
		select {
		case <-ctx.Done():
			return
		case <-inForce:
			inForce = nil
			n.Nudge() // the node can be published
			continue
		case <-p.stale:
			patience = time.After(stalePatience)
			continue
		case <-patience:
			p.do(ctx, func() { p.settled = true })
			continue
		case <-again:
			again = nil
			p.do(ctx, func() {})
		case <-p.wake:
			p.mu.Lock()
			failed := p.failed != nil
			p.mu.Unlock()
			if failed {
				again = time.After(enforceAgain)
				continue
			}
			p.do(ctx, func() {})
		}
	}
}

// do changes something and brings it into force.
func (p *policies) do(ctx context.Context, change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	if err := p.enforce(ctx); err != nil && ctx.Err() == nil {
		p.log.Warn("policies are not all in force; trying again", "error", err)
	}
}
