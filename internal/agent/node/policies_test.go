// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-io/fairlead/internal/agent/policy"
	agentsync "github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

func (s *stage) UpdatePolicies(_ context.Context, u datapath.PolicyUpdate) error {
	defer s.lock()()
	s.policies = append(s.policies, u)
	return s.policyErr
}

// lock locks what several goroutines use.
func (s *stage) lock() (unlock func()) {
	if s.policyMu == nil {
		return func() {}
	}
	s.policyMu.Lock()
	return s.policyMu.Unlock
}

func (s *stage) PolicySeed() ([]byte, error) { return []byte("secret"), nil }

func (s *stage) PolicyVerdict(_ context.Context, q datapath.PolicyQuery) (datapath.PolicyVerdict, error) {
	return datapath.PolicyVerdict{Policed: true, Allow: true}, nil
}

// updates are those of policies since the last call.
func (s *stage) updates() []datapath.PolicyUpdate {
	defer s.lock()()
	out := s.policies
	s.policies = nil
	return out
}

func (s *stage) fail(err error) {
	defer s.lock()()
	s.policyErr = err
}

func enforcing(s *stage) *Node {
	n := newNode(s)
	n.EnforcePolicies(func(time.Duration, error) {})
	return n
}

func tell(t *testing.T, n *Node, u agentsync.PolicyUpdate) {
	t.Helper()
	if err := n.ApplyPolicies(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}

func scopeOf(namespaces ...string) *state.PolicyObject {
	return &state.PolicyObject{Object: &state.PolicyObject_Scope{Scope: &state.PolicyScope{Namespaces: namespaces}}}
}

func subjectOf(name, uid string, policies ...string) *state.PolicyObject {
	return &state.PolicyObject{Object: &state.PolicyObject_Subject{Subject: &state.PolicySubject{Namespace: "shop", Name: name, Uid: uid, Policies: policies, Peer: true}}}
}

func denyAll(name string) *state.PolicyObject {
	return &state.PolicyObject{Object: &state.PolicyObject_Policy{Policy: &state.Policy{Namespace: "shop", Name: name, Ingress: &state.PolicyRules{}}}}
}

var (
	webAddress = netip.MustParseAddr("10.1.0.5")
	webPod     = policy.Pod{Namespace: "shop", Name: "web", UID: "u", Addresses: []netip.Addr{webAddress}}
	known      = agentsync.PolicyUpdate{Objects: []*state.PolicyObject{scopeOf("shop")}, Known: true, Fresh: true}
)

func TestNoPodIsPromisedANetworkBeforePoliciesHold(t *testing.T) {
	s := &stage{policyMu: &sync.Mutex{}}
	n := enforcing(s)
	tell(t, n, agentsync.PolicyUpdate{Objects: []*state.PolicyObject{scopeOf("shop"), denyAll("p")}, Fresh: true})
	open(t, n)
	if slices.Contains(s.steps, "publish") || len(s.updates()) != 0 {
		t.Fatalf("before all is known: %v", s.steps)
	}
	tell(t, n, agentsync.PolicyUpdate{Objects: []*state.PolicyObject{subjectOf("web", "u", "policy/NetworkPolicy/shop/p")}, Known: true, Fresh: true})
	if all := s.updates(); len(all) != 1 || !all[0].Complete {
		t.Errorf("first came %+v, want all there is", all)
	}
	open(t, n)
	if !slices.Contains(s.steps, "publish") {
		t.Errorf("when all holds: %v, want the node published", s.steps)
	}
}

// What an earlier run has connected keeps what the kernel has until all is known, and is told
// before anything is brought into force.
func TestAfterARestartNothingIsOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{policyMu: &sync.Mutex{}}
		n := enforcing(s)
		s.onStart = func() { n.RestorePod("web/eth0", webPod) }
		ctx, cancel := context.WithCancel(t.Context())
		go n.Run(ctx) //nolint:errcheck // it has no error
		tell(t, n, agentsync.PolicyUpdate{Objects: []*state.PolicyObject{scopeOf("shop"), subjectOf("web", "u", "policy/NetworkPolicy/shop/p"), denyAll("p")}, Follows: true})
		tell(t, n, agentsync.PolicyUpdate{Known: true})
		open(t, n)
		synctest.Wait()
		if got := s.updates(); len(got) != 0 {
			t.Errorf("while newer ones may come: %+v", got)
		}
		time.Sleep(stalePatience) // no controller comes
		synctest.Wait()
		all := s.updates()
		if len(all) != 1 || !all[0].Complete || all[0].Pods[webAddress].Ingress == 0 {
			t.Errorf("what was saved came as %+v", all)
		}
		if !slices.Contains(s.steps, "publish") {
			t.Error("the node was not published then")
		}
		cancel()
		synctest.Wait()
	})
}

func TestAControllerThatKnowsNoPoliciesChangesNothing(t *testing.T) {
	s := &stage{policyMu: &sync.Mutex{}}
	n := enforcing(s)
	open(t, n)
	tell(t, n, agentsync.PolicyUpdate{Known: true, Fresh: true})
	if got := s.updates(); len(got) != 0 {
		t.Errorf("it came to %+v", got)
	}
}

func TestAPodWaitsForItsPoliciesAndForNobodyElses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{policyMu: &sync.Mutex{}}
		n := enforcing(s)
		open(t, n)
		wait := func(pod policy.Pod) (took time.Duration, peer bool, err error) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			began := time.Now()
			if err = n.AwaitPod(ctx, pod); err == nil {
				err = n.PreparePod(ctx, pod.Name, pod)
			}
			return time.Since(began), n.IsPeer(pod), err
		}
		if took, _, err := wait(webPod); !errors.Is(err, ErrPolicyUnknown) || took != 5*time.Second || !strings.Contains(err.Error(), "which namespaces") {
			t.Errorf("nothing is known: %v after %v", err, took)
		}
		tell(t, n, known)
		s.updates()
		dns := policy.Pod{Namespace: "kube-system", Name: "dns", UID: "d", Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.6")}}
		if took, peer, err := wait(dns); took != 0 || peer || err != nil {
			t.Errorf("a pod of another namespace: %v, %v after %v", peer, err, took)
		}
		if got := s.updates(); len(got) != 1 || len(got[0].Pods) != 1 {
			t.Errorf("it has the rows %+v, want one of its own", got)
		}
		tell(t, n, agentsync.PolicyUpdate{Objects: []*state.PolicyObject{subjectOf("web", "before")}, Known: true, Fresh: true})
		if _, _, err := wait(webPod); !errors.Is(err, ErrPolicyUnknown) || !strings.Contains(err.Error(), "which of them select this pod") {
			t.Errorf("another pod of its name is known: %v", err)
		}
		s.updates()
		go func() {
			time.Sleep(2 * time.Second)
			_ = n.ApplyPolicies(t.Context(), agentsync.PolicyUpdate{Objects: []*state.PolicyObject{denyAll("p"), subjectOf("web", "u", "policy/NetworkPolicy/shop/p")}, Known: true, Fresh: true})
		}()
		if took, peer, err := wait(webPod); took != 2*time.Second || !peer || err != nil {
			t.Errorf("its policies come: %v, %v after %v", peer, err, took)
		}
		got := s.updates()
		if len(got) != 1 || got[0].Pods[webAddress].Ingress == 0 {
			t.Errorf("it is connected with %+v", got)
		}
		n.ForgetPod(t.Context(), "web")
		if got := s.updates(); len(got) != 1 || !slices.Equal(got[0].GonePods, []netip.Addr{webAddress}) {
			t.Errorf("it is gone: %+v", got)
		}
	})
}

func TestAFullMapClosesNewPodsAndIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{policyMu: &sync.Mutex{}}
		n := enforcing(s)
		ctx, cancel := context.WithCancel(t.Context())
		go n.Run(ctx) //nolint:errcheck // it has no error
		open(t, n)
		tell(t, n, known)
		tell(t, n, agentsync.PolicyUpdate{Objects: []*state.PolicyObject{denyAll("p"), subjectOf("web", "u", "policy/NetworkPolicy/shop/p")}, Known: true, Fresh: true})
		s.updates()
		full := errors.New("map policy_pods is full")
		s.fail(full)
		if err := n.PreparePod(ctx, "web", webPod); !errors.Is(err, full) {
			t.Errorf("the pod is told %v", err)
		}
		dns := policy.Pod{Namespace: "kube-system", Name: "dns", UID: "d", Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.6")}}
		if err := n.PreparePod(ctx, "dns", dns); !errors.Is(err, full) {
			t.Errorf("another pod is told %v", err)
		}
		if v := n.Policies(); v.InForce || !strings.Contains(v.NotInForce, "full") || len(v.Pods) != 0 {
			t.Errorf("the node says %+v", v)
		}
		s.updates()
		s.fail(nil)
		time.Sleep(2 * enforceAgain)
		synctest.Wait()
		if got := s.updates(); len(got) != 1 || !got[0].Complete || len(got[0].Pods) != 0 || !n.Policies().InForce {
			t.Errorf("it is tried again with %+v, want once and all there is", got)
		}
		cancel()
		synctest.Wait()
	})
}

// Nobody waits for the removal of what a change left over; it comes all the same.
func TestWhatIsLeftOverIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{policyMu: &sync.Mutex{}}
		n := enforcing(s)
		ctx, cancel := context.WithCancel(t.Context())
		go n.Run(ctx) //nolint:errcheck // it has no error
		open(t, n)
		tell(t, n, known)
		tell(t, n, agentsync.PolicyUpdate{Objects: []*state.PolicyObject{denyAll("p"), subjectOf("web", "u", "policy/NetworkPolicy/shop/p")}, Known: true, Fresh: true})
		if err := n.PreparePod(ctx, "web", webPod); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.updates()
		tell(t, n, agentsync.PolicyUpdate{Objects: []*state.PolicyObject{subjectOf("web", "u")}, Known: true, Fresh: true})
		synctest.Wait()
		got := s.updates()
		if len(got) != 2 || len(got[0].GoneTables) != 0 || len(got[0].Pods) != 1 || len(got[1].GoneTables) != 1 || len(got[1].GonePortTables) != 1 {
			t.Errorf("the last policy of a pod went with %+v", got)
		}
		cancel()
		synctest.Wait()
	})
}

func TestATraceSaysLoudlyWhenTheKernelDiffers(t *testing.T) {
	s := &stage{policyMu: &sync.Mutex{}}
	n := enforcing(s)
	open(t, n)
	tell(t, n, known)
	tell(t, n, agentsync.PolicyUpdate{Objects: []*state.PolicyObject{denyAll("p"), subjectOf("web", "u", "policy/NetworkPolicy/shop/p")}, Known: true, Fresh: true})
	if err := n.PreparePod(t.Context(), "web", webPod); err != nil {
		t.Fatal(err)
	}
	v, err := n.TracePolicies(t.Context(), datapath.PolicyQuery{Pod: webAddress, Peer: netip.MustParseAddr("10.2.0.1"), Direction: datapath.Ingress, Protocol: 6, Port: 80})
	if err != nil || v.Allow || !v.Policed || v.Why != "NetworkPolicy shop/p: no rule allows it" || !v.Kernel.Allow || !v.Differs {
		t.Errorf("%+v, %v", v, err)
	}
	for peer, always := range map[string]bool{"192.0.2.1": true, webAddress.String(): true, "192.0.2.2": false} {
		v, err := n.TracePolicies(t.Context(), datapath.PolicyQuery{Pod: webAddress, Peer: netip.MustParseAddr(peer), Direction: datapath.Ingress, Protocol: 6, Port: 80})
		if err != nil || (v.Always != "") != always {
			t.Errorf("from %s: %+v, %v; want it always allowed: %v", peer, v, err, always)
		}
	}
}

// A response with something wrong is taken back at once: pods whose policies name what is
// wrong must not be closed in the meantime.
func TestWhatIsWrongClosesNobodyBeforeItIsTakenBack(t *testing.T) {
	s := &stage{policyMu: &sync.Mutex{}}
	n := enforcing(s)
	open(t, n)
	tell(t, n, known)
	tell(t, n, agentsync.PolicyUpdate{Objects: []*state.PolicyObject{subjectOf("web", "u")}, Known: true, Fresh: true})
	if err := n.PreparePod(t.Context(), "web", webPod); err != nil {
		t.Fatal(err)
	}
	s.updates()
	wrong := denyAll("p")
	wrong.GetPolicy().Ingress.Rules = []*state.PolicyRule{{AnyPeer: true, Ports: []*state.PolicyPort{{Protocol: 6, First: 9, Last: 8}}}}
	err := n.ApplyPolicies(t.Context(), agentsync.PolicyUpdate{Objects: []*state.PolicyObject{wrong, subjectOf("web", "u", "policy/NetworkPolicy/shop/p")}, Known: true, Fresh: true})
	if err == nil || !strings.Contains(err.Error(), "NetworkPolicy shop/p: ingress.rules[0]: ports[0] is 9 to 8") {
		t.Errorf("it is refused with %v", err)
	}
	if got := s.updates(); len(got) != 0 {
		t.Errorf("until then: %+v", got)
	}
}
