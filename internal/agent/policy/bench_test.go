// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/fairlead-io/fairlead/internal/agent/policy"
	"github.com/fairlead-io/fairlead/internal/state"
)

// BenchmarkLabel gives a peer another label and back, with 500 policies on 100 pods of the
// node, of which each has a ruleset of its own.
func BenchmarkLabel(b *testing.B) {
	e := policy.New(seed)
	set := func(m *state.PolicyObject) {
		if err := e.Set(state.PolicyName(m), m); err != nil {
			b.Fatal(err)
		}
	}
	var names []string
	for i := range 500 {
		name := fmt.Sprintf("p%03d", i)
		set(networkPolicy(name, &state.PolicyRule{PeerSets: []string{name}, Ports: []*state.PolicyPort{{Protocol: 6, First: uint32(1 + i), Last: uint32(2 + i)}}}))
		names = append(names, "policy/NetworkPolicy/shop/"+name)
	}
	for i := range 100 {
		name := fmt.Sprint("p", i)
		e.SetPod(name, policy.Pod{Namespace: "shop", Name: name, UID: "u", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 2, 0, byte(i)})}})
		set(networkPolicy(fmt.Sprint("own", i), from(fmt.Sprint("own", i))))
		set(&state.PolicyObject{Object: &state.PolicyObject_Subject{Subject: &state.PolicySubject{Namespace: "shop", Name: name, Uid: "u",
			Policies: append([]string{fmt.Sprint("policy/NetworkPolicy/shop/own", i)}, names...)}}})
	}
	e.Take()
	at := 0
	for b.Loop() {
		set(block(fmt.Sprintf("p%03d", at%500), 0))
		at++
		set(block(fmt.Sprintf("p%03d", at%500), 0, "10.4.0.1"))
		e.Take()
	}
}
