// SPDX-License-Identifier: Apache-2.0

package sync_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	stdsync "sync"
	"testing"

	"github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

// enforcer is a PolicyHandler that remembers what it has and what it was told.
type enforcer struct {
	guard   stdsync.Mutex
	objects map[string]*state.PolicyObject
	told    []sync.PolicyUpdate
	whole   bool
	news    bool
	refuses func(*state.PolicyObject) error
}

func newEnforcer() *enforcer { return &enforcer{objects: map[string]*state.PolicyObject{}} }

func (e *enforcer) ApplyPolicies(_ context.Context, u sync.PolicyUpdate) error {
	e.guard.Lock()
	defer e.guard.Unlock()
	for _, name := range u.Removed {
		delete(e.objects, name)
	}
	for _, m := range u.Objects {
		e.objects[state.PolicyName(m)] = m
	}
	e.told, e.whole, e.news = append(e.told, u), u.Known, u.Fresh
	if e.refuses == nil {
		return nil
	}
	var errs []error
	for _, m := range u.Objects {
		errs = append(errs, e.refuses(m))
	}
	return errors.Join(errs...)
}

func (e *enforcer) see(f func()) {
	e.guard.Lock()
	defer e.guard.Unlock()
	f()
}

func (e *enforcer) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	eventually(t, what, func() (is bool) {
		e.see(func() { is = ok() })
		return is
	})
}

func (c *cluster) enforcing(dir string, e *enforcer, addresses ...string) *agent {
	c.t.Helper()
	n := newNode()
	n.enforcer = e
	return c.agent(dir, n, addresses...)
}

func policyObject(t *testing.T, m *state.PolicyObject) state.Resource {
	return encode(t, state.PolicyName(m), m)
}

func scope(t *testing.T, namespaces ...string) state.Resource {
	return policyObject(t, &state.PolicyObject{Object: &state.PolicyObject_Scope{Scope: &state.PolicyScope{Namespaces: namespaces}}})
}

func peers(t *testing.T, set string, last byte) state.Resource {
	return policyObject(t, &state.PolicyObject{Object: &state.PolicyObject_Peers{Peers: &state.PeerSet{Set: set, Ipv4: []byte{10, 0, 0, last}}}})
}

func rules(t *testing.T, name string, port uint32) state.Resource {
	return policyObject(t, &state.PolicyObject{Object: &state.PolicyObject_Policy{Policy: &state.Policy{
		Namespace: "shop", Name: name, Ingress: &state.PolicyRules{Rules: []*state.PolicyRule{{AnyPeer: true, Ports: []*state.PolicyPort{{Protocol: 6, First: port, Last: port}}}}},
	}}})
}

func subject(t *testing.T, pod string, policies ...string) state.Resource {
	return policyObject(t, &state.PolicyObject{Object: &state.PolicyObject_Subject{Subject: &state.PolicySubject{Namespace: "shop", Name: pod, Uid: "u", Policies: policies}}})
}

func TestPoliciesComeInOneOrderAndAreKnownWhenAllHaveCome(t *testing.T) {
	c := newCluster(t)
	ctl := c.controllerWith(clusterName, "127.0.0.1:0", serve.Options{MaxResources: 3})
	content := []state.Resource{scope(t, "shop")}
	for i := range 10 {
		name := fmt.Sprintf("p%d", i)
		content = append(content, peers(t, name, byte(i)), rules(t, name, 80), subject(t, name, "policy/NetworkPolicy/shop/"+name))
	}
	ctl.fill(content...)
	e := newEnforcer()
	c.enforcing(t.TempDir(), e, ctl.address)
	e.wait(t, "all are known", func() bool { return e.whole && e.news })
	var names []string
	e.see(func() {
		for i, u := range e.told {
			if u.Known != (i == len(e.told)-1) {
				t.Errorf("part %d of %d says known: %v", i, len(e.told), u.Known)
			}
			for _, m := range u.Objects {
				names = append(names, state.PolicyName(m))
			}
		}
	})
	if len(names) != len(content) || !slices.IsSorted(names) {
		t.Errorf("%d objects came as %v, want %d, sorted: what is named first", len(names), names, len(content))
	}
	eventually(t, "in sync", func() bool { s := ctl.server.Statuses(); return len(s) == 1 && s[0].Synced() })
	e.see(func() { e.told = nil })
	ctl.store.Change(serve.Shared, state.PolicyType, []state.Resource{peers(t, "p3", 99)}, []string{"policy/NetworkPolicy/shop/p4"})
	e.wait(t, "the change", func() bool { return e.objects["policy/NetworkPolicy/shop/p4"] == nil })
	e.see(func() {
		if len(e.told) != 1 || len(e.told[0].Objects) != 1 || len(e.told[0].Removed) != 1 || !e.told[0].Known {
			t.Errorf("one change came as %+v", e.told)
		}
	})
}

func TestPoliciesSurviveARestartWithoutController(t *testing.T) {
	c := newCluster(t)
	ctl := c.controller(clusterName, "127.0.0.1:0")
	ctl.fill(scope(t, "shop"), peers(t, "a", 1), rules(t, "a", 80), subject(t, "a", "policy/NetworkPolicy/shop/a"))
	dir := t.TempDir()
	e := newEnforcer()
	a := c.enforcing(dir, e, ctl.address)
	e.wait(t, "all are known", func() bool { return e.whole })
	ctl.store.Change(serve.Shared, state.PolicyType, []state.Resource{peers(t, "a", 2)}, []string{"subject/shop/a"})
	e.wait(t, "the change", func() bool { return len(e.objects) == 3 })
	eventually(t, "in sync", func() bool { s := ctl.server.Statuses(); return len(s) == 1 && s[0].Synced() })
	a.stop()
	ctl.kill()

	e = newEnforcer()
	c.enforcing(dir, e)
	e.wait(t, "the saved policies", func() bool { return e.whole })
	e.see(func() {
		if e.news || len(e.objects) != 3 || e.objects["peers/a/0"].GetPeers().GetIpv4()[3] != 2 {
			t.Errorf("loaded %v, fresh: %v", slices.Sorted(maps.Keys(e.objects)), e.news)
		}
	})
	again := c.controller(clusterName, ctl.address)
	again.fill(scope(t, "shop"), peers(t, "a", 2), rules(t, "a", 81))
	e.wait(t, "a fresh state", func() bool { return e.news })
	if got := again.sent(); got != 1 {
		t.Errorf("%d resources were sent again, want 1", got)
	}
}

func TestARefusedPolicyIsPutBackAndAllOthersHold(t *testing.T) {
	c := newCluster(t)
	ctl := c.controller(clusterName, "127.0.0.1:0")
	e := newEnforcer()
	e.refuses = func(m *state.PolicyObject) error {
		for _, r := range m.GetPolicy().GetIngress().GetRules() {
			if r.GetPorts()[0].GetFirst() == 666 {
				return fmt.Errorf("NetworkPolicy shop/%s: no room; make room", m.GetPolicy().GetName())
			}
		}
		return nil
	}
	ctl.fill(scope(t, "shop"), rules(t, "a", 80), rules(t, "b", 80))
	dir := t.TempDir()
	a := c.enforcing(dir, e, ctl.address)
	e.wait(t, "all are known", func() bool { return e.news })
	ctl.fill(scope(t, "shop"), rules(t, "a", 666), rules(t, "b", 81))
	port := func(name string) uint32 {
		return e.objects["policy/NetworkPolicy/shop/"+name].GetPolicy().GetIngress().GetRules()[0].GetPorts()[0].GetFirst()
	}
	inForce := func() bool { return len(e.objects) == 3 && port("a") == 80 && port("b") == 81 }
	eventually(t, "the refusal is known in the agent's words", func() bool {
		s := ctl.server.Statuses()
		return len(s) == 1 && len(s[0].Refusals) == 1 && s[0].Refusals[0].Message == "NetworkPolicy shop/a: no room; make room"
	})
	e.wait(t, "the other is in force", inForce)
	a.stop()
	e = newEnforcer()
	c.enforcing(dir, e, "127.0.0.1:1")
	e.wait(t, "what was in force is what is saved", func() bool { return e.whole && inForce() })
}
