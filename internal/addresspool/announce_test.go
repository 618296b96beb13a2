// SPDX-License-Identifier: Apache-2.0

package addresspool

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
)

func nodes(n int) (out []Node) {
	for i := range n {
		out = append(out, Node{Name: fmt.Sprint("n", i), Ready: true, Labels: labels.Set{"zone": fmt.Sprint(i % 2)}})
	}
	return out
}

func everything() []Announcer { return []Announcer{{Pool: "p", Ranges: []string{"192.0.2.0/24"}}} }

func TestWhoMayAnnounce(t *testing.T) {
	vip := addrs("192.0.2.1")
	for _, c := range []struct {
		name    string
		pools   []Announcer
		service Exposed
		change  func([]Node)
		want    func([]Announcement) bool
	}{
		{"all nodes", everything(), Exposed{Addresses: vip}, nil, func(a []Announcement) bool { return len(a) == 1 && len(a[0].Nodes) == 4 }},
		{"mode None", []Announcer{{Ranges: []string{"192.0.2.0/24"}, Off: true}}, Exposed{Addresses: vip}, nil, func(a []Announcement) bool { return len(a) == 0 }},
		{"another pool's", []Announcer{{Ranges: []string{"198.51.100.0/24"}}}, Exposed{Addresses: vip}, nil, func(a []Announcement) bool { return len(a) == 0 }},
		{"selected nodes", []Announcer{{Ranges: []string{"192.0.2.0/24"}, Nodes: labels.SelectorFromSet(labels.Set{"zone": "1"}), Interfaces: []string{"eth1"}}},
			Exposed{Addresses: vip}, nil, func(a []Announcement) bool {
				slices.Sort(a[0].Nodes)
				return slices.Equal(a[0].Nodes, []string{"n1", "n3"}) && slices.Equal(a[0].Interfaces, []string{"eth1"})
			}},
		{"Local", everything(), Exposed{Addresses: vip, Local: true, Nodes: []string{"n2"}}, nil, func(a []Announcement) bool {
			return slices.Equal(a[0].Nodes, []string{"n2"})
		}},
		{"Local without endpoints", everything(), Exposed{Addresses: vip, Local: true}, nil, func(a []Announcement) bool { return len(a) == 0 }},
		{"excluded nodes", everything(), Exposed{Addresses: vip}, func(n []Node) { n[0].Excluded = true }, func(a []Announcement) bool {
			return len(a[0].Nodes) == 3 && !slices.Contains(a[0].Nodes, "n0")
		}},
		{"nodes that are not ready come last", everything(), Exposed{Addresses: vip}, func(n []Node) { n[0].Ready, n[3].Ready = false, false }, func(a []Announcement) bool {
			last := slices.Sorted(slices.Values(a[0].Nodes[2:]))
			return slices.Equal(last, []string{"n0", "n3"})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ns := nodes(4)
			if c.change != nil {
				c.change(ns)
			}
			if got := Announcements(c.pools, []Exposed{c.service}, ns); !c.want(got) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestANodeThatGoesMovesOnlyItsOwn is what rendezvous hashing is for.
func TestANodeThatGoesMovesOnlyItsOwn(t *testing.T) {
	var s Exposed
	for a := netip.MustParseAddr("192.0.2.0"); len(s.Addresses) < 256; a = a.Next() {
		s.Addresses = append(s.Addresses, a)
	}
	ns := nodes(16)
	before := Announcements(everything(), []Exposed{s}, ns)
	after := Announcements(everything(), []Exposed{s}, ns[1:])
	load := map[string]int{}
	for i := range before {
		was, now := before[i].Nodes, after[i].Nodes
		load[was[0]]++
		stay := slices.DeleteFunc(slices.Clone(was), func(n string) bool { return n == "n0" })
		if !slices.Equal(now[:len(stay)], stay) {
			t.Errorf("%s: %v became %v", before[i].Address, was, now)
		}
	}
	for n, count := range load {
		if count > 40 {
			t.Errorf("%s announces %d of 256 addresses; 16 are its part", n, count)
		}
	}
	if len(load) != 16 {
		t.Errorf("only %d of 16 nodes announce", len(load))
	}
}
