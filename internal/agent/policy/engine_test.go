// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/fairlead-io/fairlead/internal/agent/policy"
	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/state"
)

// node is an engine with what the datapath made of its updates.
type node struct {
	t *testing.T
	e *policy.Engine
	k *kernel
}

func newNode(t *testing.T) *node {
	n := &node{t: t, e: policy.New(seed), k: newKernel()}
	n.set(&state.PolicyObject{Object: &state.PolicyObject_Scope{Scope: &state.PolicyScope{Namespaces: []string{"shop"}}}})
	return n
}

func (n *node) set(m *state.PolicyObject) {
	n.t.Helper()
	if err := n.e.Set(state.PolicyName(m), m); err != nil {
		n.t.Fatal(err)
	}
}

// take brings what has changed into force, and calls a function at each step.
func (n *node) take(step func()) datapath.PolicyUpdate {
	u := n.e.Take()
	n.k.apply(u, step)
	return u
}

func (n *node) settle() {
	for n.take(func() {}); n.e.Leftovers(); {
		n.take(func() {})
	}
}

func (n *node) allows(peer string, port uint16) bool {
	_, allow, _ := n.k.verdict(datapath.PolicyQuery{Pod: web, Peer: netip.MustParseAddr(peer), Direction: datapath.Ingress, Protocol: 6, Port: port})
	return allow
}

var web = netip.MustParseAddr("10.1.0.5")

func (n *node) pod() {
	n.e.SetPod("web", policy.Pod{Namespace: "shop", Name: "web", UID: "u1", Addresses: []netip.Addr{web}})
}

func subjectOf(policies ...string) *state.PolicyObject {
	return &state.PolicyObject{Object: &state.PolicyObject_Subject{Subject: &state.PolicySubject{Namespace: "shop", Name: "web", Uid: "u1", Policies: policies}}}
}

func block(set string, number uint32, addresses ...string) *state.PolicyObject {
	s := &state.PeerSet{Set: set, Block: number}
	for _, a := range addresses {
		s.Ipv4 = append(s.Ipv4, netip.MustParseAddr(a).AsSlice()...)
	}
	return &state.PolicyObject{Object: &state.PolicyObject_Peers{Peers: s}}
}

func networkPolicy(name string, rules ...*state.PolicyRule) *state.PolicyObject {
	return &state.PolicyObject{Object: &state.PolicyObject_Policy{Policy: &state.Policy{Namespace: "shop", Name: name, Ingress: &state.PolicyRules{Rules: rules}}}}
}

func adminPolicy(name string, rules ...*state.PolicyRule) *state.PolicyObject {
	return &state.PolicyObject{Object: &state.PolicyObject_Policy{Policy: &state.Policy{Name: name, Tier: state.PolicyTier_TIER_ADMIN, Ingress: &state.PolicyRules{Rules: rules}}}}
}

func from(sets ...string) *state.PolicyRule { return &state.PolicyRule{PeerSets: sets, AnyPort: true} }

func deny(r *state.PolicyRule) *state.PolicyRule {
	r.Action = state.PolicyAction_ACTION_DENY
	return r
}

func TestAPodIsClosedUntilAllIsKnownOfIt(t *testing.T) {
	n := newNode(t)
	n.pod()
	n.settle()
	if n.allows("10.1.0.9", 80) {
		t.Error("a pod of a namespace with policies is open before its subject has come")
	}
	n.set(subjectOf("policy/NetworkPolicy/shop/late"))
	n.settle()
	_, allow, cause := n.k.verdict(datapath.PolicyQuery{Pod: web, Peer: web, Direction: datapath.Egress, Protocol: 1})
	if rule, ok := n.e.Cause(cause); allow || !ok || rule.Name != "late" || rule.Namespace != "shop" || rule.Missing == "" {
		t.Errorf("while a policy lacks: allowed %v, cause %+v", allow, rule)
	}
	if known, _ := n.e.Subject("shop", "web", "u1"); known {
		t.Error("the subject is known without its policy")
	}
	n.set(networkPolicy("late", from("friends")))
	n.set(block("friends", 0, "10.1.0.9"))
	n.settle()
	if !n.allows("10.1.0.9", 80) || n.allows("10.1.0.8", 80) {
		t.Error("the policy is there, and does not hold")
	}
	if known, _ := n.e.Subject("shop", "web", "u2"); known {
		t.Error("the subject is known of another pod of its name")
	}
	n.e.Remove("subject/shop/web")
	n.settle()
	if n.allows("10.1.0.9", 80) {
		t.Error("a pod is open whose subject is gone")
	}
}

func TestAPodOutsideOfTheScopeIsNotPoliced(t *testing.T) {
	n := newNode(t)
	n.e.SetPod("dns", policy.Pod{Namespace: "kube-system", Name: "dns", UID: "u", Addresses: []netip.Addr{web}})
	n.settle()
	if row, ok := n.k.pods[web]; !ok || row != (datapath.PodPolicy{}) {
		t.Errorf("its row is %+v, %v, want one without rulesets", row, ok)
	}
}

// One policy denies a peer by one set, the next by another. No moment may be without either.
func TestAPolicyIsReplacedWithoutAnOpenMoment(t *testing.T) {
	for _, c := range []struct {
		name string
		also func(*node)
	}{
		{"the old set stays", func(*node) {}},
		{"the old set goes with the policy", func(n *node) { n.e.Remove("peers/old/0") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			n.pod()
			n.set(block("old", 0, "10.1.0.9"))
			n.set(block("new", 0, "10.1.0.9"))
			n.set(adminPolicy("guard", deny(from("old"))))
			n.set(subjectOf("policy/ClusterNetworkPolicy/guard"))
			n.settle()
			n.set(adminPolicy("guard", deny(from("new"))))
			c.also(n)
			for range 3 {
				n.take(func() {
					if n.allows("10.1.0.9", 80) {
						t.Fatal("the peer is let in while the policy is replaced")
					}
				})
			}
			if len(n.k.classes) != 1 || len(n.k.tables) != 2 || len(n.k.ports) != 2 {
				t.Errorf("%d classes, %d tables, %d port tables are left, want 1, 2 and 2", len(n.k.classes), len(n.k.tables), len(n.k.ports))
			}
		})
	}
}

func TestAPeersChangeNarrowsOnlyWhatItTakesAway(t *testing.T) {
	n := newNode(t)
	n.pod()
	n.set(networkPolicy("p", from("a")))
	n.set(subjectOf("policy/NetworkPolicy/shop/p"))
	n.settle()
	n.set(block("a", 0, "10.1.0.9"))
	if u := n.take(func() {}); u.Narrower || len(u.Classes) != 1 {
		t.Errorf("a peer more: %+v", u)
	}
	n.set(block("a", 0))
	if u := n.take(func() {}); !u.Narrower || len(u.Classes) != 1 || len(u.GoneClasses) != 0 {
		t.Errorf("a peer less: %+v", u)
	}
	if u := n.take(func() {}); u.Narrower || len(u.GoneClasses) != 1 {
		t.Errorf("what was left over: %+v", u)
	}
	if u := n.take(func() {}); len(u.Classes)+len(u.GoneClasses)+len(u.Tables)+len(u.GoneTables)+len(u.PortTables)+len(u.GonePortTables)+len(u.Pods) > 0 {
		t.Errorf("nothing has changed: %+v", u)
	}
}

func TestWhatIsWrongIsRefusedAndNamed(t *testing.T) {
	rule := func(change func(*state.PolicyRule)) *state.PolicyObject {
		r := &state.PolicyRule{AnyPeer: true, AnyPort: true}
		change(r)
		return networkPolicy("p", r)
	}
	for _, c := range []struct {
		name string
		m    *state.PolicyObject
		want string
	}{
		{"a prefix too long", rule(func(r *state.PolicyRule) {
			r.AnyPeer, r.Networks = false, []*state.PolicyNetwork{{Address: []byte{10, 0, 0, 0}, Bits: 33}}
		}), "bits is 33"},
		{"bits behind the prefix", rule(func(r *state.PolicyRule) {
			r.AnyPeer, r.Networks = false, []*state.PolicyNetwork{{Address: []byte{10, 0, 0, 1}, Bits: 8}}
		}), "want 10.0.0.0/8"},
		{"an exception outside", rule(func(r *state.PolicyRule) {
			r.AnyPeer, r.Networks = false, []*state.PolicyNetwork{{Address: []byte{10, 0, 0, 0}, Bits: 8, Except: []*state.PolicyNetwork{{Address: []byte{11, 0, 0, 0}, Bits: 16}}}}
		}), "not within 10.0.0.0/8"},
		{"ports the wrong way round", rule(func(r *state.PolicyRule) {
			r.AnyPort, r.Ports = false, []*state.PolicyPort{{Protocol: 6, First: 80, Last: 79}}
		}), "ports[0] is 80 to 79"},
		{"no protocol", rule(func(r *state.PolicyRule) { r.AnyPort, r.Ports = false, []*state.PolicyPort{{First: 80, Last: 80}} }), "protocol is 0"},
		{"a NetworkPolicy that denies", rule(func(r *state.PolicyRule) { r.Action = state.PolicyAction_ACTION_DENY }), "only accepts"},
		{"half of an address", &state.PolicyObject{Object: &state.PolicyObject_Peers{Peers: &state.PeerSet{Set: "s", Ipv4: []byte{1, 2, 3}}}}, "multiple of 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			n.pod()
			n.set(networkPolicy("p", from("a")))
			n.set(block("a", 0, "10.1.0.9"))
			n.set(subjectOf("policy/NetworkPolicy/shop/p"))
			if err := n.e.Set(state.PolicyName(c.m), c.m); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %q in it", err, c.want)
			}
			n.settle()
			if !n.allows("10.1.0.9", 80) {
				t.Error("what was known before does not hold any more")
			}
		})
	}
	n := newNode(t)
	if err := n.e.Set("policy/NetworkPolicy/shop/q", networkPolicy("p")); err == nil {
		t.Error("a message under another's name is taken")
	}
}

// A change may cost as much as it is, and no more. The bounds are the design's, with room for
// a machine that does other things as well.
func TestChangesAreCheapWhereMuchIsKnown(t *testing.T) {
	mean := func(f func(i int)) time.Duration {
		from := time.Now()
		for i := range 20 {
			f(i)
		}
		return time.Since(from) / 20
	}
	pods := func(n *node, count int, policies []string) {
		for i := range count {
			name := fmt.Sprint("p", i)
			n.e.SetPod(name, policy.Pod{Namespace: "shop", Name: name, UID: "u", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 2, 0, byte(i)})}})
			own := append([]string{fmt.Sprint("policy/NetworkPolicy/shop/own", i)}, policies...)
			n.set(networkPolicy(fmt.Sprint("own", i), from(fmt.Sprint("own", i))))
			n.set(&state.PolicyObject{Object: &state.PolicyObject_Subject{Subject: &state.PolicySubject{Namespace: "shop", Name: name, Uid: "u", Policies: own}}})
		}
	}
	t.Run("a peer's label with 500 policies on the node", func(t *testing.T) {
		n := newNode(t)
		var names []string
		for i := range 500 {
			name := fmt.Sprintf("p%03d", i)
			n.set(networkPolicy(name, &state.PolicyRule{PeerSets: []string{name}, Ports: []*state.PolicyPort{{Protocol: 6, First: uint32(1 + i), Last: uint32(2 + i)}}}))
			n.set(block(name, 0, fmt.Sprintf("10.3.%d.%d", i/200, i%200)))
			names = append(names, "policy/NetworkPolicy/shop/"+name)
		}
		pods(n, 100, names)
		n.settle()
		took := mean(func(i int) {
			// From one label to another: it is in sets together that no address was in before.
			n.set(block(fmt.Sprintf("p%03d", 2*i), 1, "10.4.0.1"))
			n.set(block(fmt.Sprintf("p%03d", 2*i+1), 1, "10.4.0.1"))
			n.e.Take()
		})
		t.Logf("%v", took)
		if took > 5*time.Millisecond {
			t.Errorf("it takes %v, want less than 1 ms", took)
		}
	})
	t.Run("a set of 10,000 addresses", func(t *testing.T) {
		n := newNode(t)
		n.pod()
		n.set(networkPolicy("p", from("big")))
		n.set(subjectOf("policy/NetworkPolicy/shop/p"))
		n.settle()
		for b := range 160 {
			var list []string
			for i := range 63 {
				list = append(list, fmt.Sprintf("10.%d.%d.%d", 3+b/100, b%100, i))
			}
			n.set(block("big", uint32(b), list...))
		}
		began := time.Now()
		u := n.take(func() {})
		t.Logf("%d addresses: %v", len(u.Classes), time.Since(began))
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("it takes %v, want less than 100 ms", took)
		}
		took := mean(func(i int) { n.set(block("big", 7, fmt.Sprintf("10.3.7.%d", i))); n.e.Take() })
		t.Logf("one change: %v", took)
		if took > 5*time.Millisecond {
			t.Errorf("a change takes %v, want less than 1 ms", took)
		}
	})
	t.Run("5,000 rules", func(t *testing.T) {
		n := newNode(t)
		n.pod()
		var rules []*state.PolicyRule
		for i := range 5000 {
			rules = append(rules, &state.PolicyRule{Place: uint32(i), AnyPeer: i%2 == 0, PeerSets: []string{"a"}, Ports: []*state.PolicyPort{{Protocol: 6, First: uint32(i*7%60000 + 1), Last: uint32(i*7%60000 + 20)}}})
		}
		n.set(block("a", 0, "10.1.0.9"))
		n.set(subjectOf("policy/NetworkPolicy/shop/p"))
		began := time.Now()
		n.set(networkPolicy("p", rules...))
		n.take(func() {})
		t.Logf("%v", time.Since(began))
		if took := time.Since(began); took > 300*time.Millisecond {
			t.Errorf("it takes %v, want milliseconds", took)
		}
	})
}

// FuzzObject has an engine read whatever comes: it refuses it or gives rows that are sound.
func FuzzObject(f *testing.F) {
	for _, m := range []*state.PolicyObject{block("a", 1, "10.0.0.1"), networkPolicy("p", from("a"), &state.PolicyRule{Networks: []*state.PolicyNetwork{prefix("10.0.0.0/8")}, Ports: []*state.PolicyPort{{Protocol: 6, First: 1, Last: 9}, {Name: "web"}}}), adminPolicy("c", deny(from("a"))), subjectOf("policy/NetworkPolicy/shop/p")} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &state.PolicyObject{}
		if proto.Unmarshal(b, m) != nil {
			return
		}
		n := newNode(t)
		n.pod()
		n.set(subjectOf("policy/NetworkPolicy/shop/p", "policy/ClusterNetworkPolicy/c"))
		_ = n.e.Set(state.PolicyName(m), m) // refused or not
		for range 3 {
			checkForm(t, n.e.Take())
		}
		n.e.Remove(state.PolicyName(m))
		n.e.Take()
	})
}
