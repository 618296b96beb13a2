// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestEveryNodeIsProbedByAsMany(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}
	for nodes := 1; nodes <= 40; nodes++ {
		var all []Peer
		for i := range nodes {
			all = append(all, Peer{Node: fmt.Sprintf("n%02d", i), Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})}})
		}
		by := map[string]int{}
		for _, p := range all {
			for _, to := range targets(p.Node, own, all) {
				if to.node == p.Node {
					t.Fatalf("%d nodes: %s probes itself", nodes, p.Node)
				}
				by[to.node]++
			}
		}
		for _, p := range all {
			if by[p.Node] != by["n00"] || nodes > 1 && by[p.Node] == 0 || by[p.Node] > 4 {
				t.Fatalf("%d nodes: %s is probed by %d others, n00 by %d", nodes, p.Node, by[p.Node], by["n00"])
			}
		}
	}
}

func TestTargetsHaveAFamilyInCommon(t *testing.T) {
	four, six := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")
	both := []netip.Addr{four, six}
	for name, c := range map[string]struct {
		own, others []netip.Addr
		want        int
	}{
		"both":                 {both, both, 2},
		"one of us":            {[]netip.Addr{six}, both, 1},
		"one of the others":    {both, []netip.Addr{four}, 1},
		"none":                 {[]netip.Addr{six}, []netip.Addr{four}, 0},
		"the others not ready": {both, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := targets("a", c.own, []Peer{{Node: "a", Addresses: c.own}, {Node: "b", Addresses: c.others}})
			if len(got) != c.want {
				t.Errorf("got %v, want %d", got, c.want)
			}
		})
	}
	if got := targets("a", both, []Peer{{Node: "b", Addresses: both}}); got != nil {
		t.Errorf("not among those that are ready, and has targets %v", got)
	}
}

func TestTheClustersDomain(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a pod's":        {"search ns.svc.example.org svc.example.org example.org lan\nnameserver 10.96.0.10\noptions ndots:5\n", "example.org"},
		"with a dot":     {"nameserver 10.96.0.10\nsearch svc.c.local.\n", "c.local"},
		"no search list": {"nameserver 10.96.0.10\n", "cluster.local"},
		"a host's":       {"search lan\n", "cluster.local"},
		"empty":          {"", "cluster.local"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "resolv.conf")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := domain(file); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	if got := domain("/no/such/file"); got != "cluster.local" {
		t.Errorf("without a file: %s", got)
	}
}

// TestWhatDoesNotCount: what a peer loses before it has answered once, in its grace.
func TestWhatDoesNotCount(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	lost := func(second int) Attempt {
		return Attempt{Peer: "b", Began: start.Add(time.Duration(second) * time.Second), Lost: true}
	}
	ok := func(second int) Attempt { return Attempt{Peer: "b", Began: lost(second).Began, Took: time.Millisecond} }
	for name, c := range map[string]struct {
		attempts   []Attempt
		sent, lost int64
	}{
		"it is about to start": {[]Attempt{lost(0), lost(14), ok(14)}, 1, 0},
		"it starts, and later the fate of an earlier one is known": {[]Attempt{ok(2), lost(1), lost(3)}, 2, 1},
		"it does not start":            {[]Attempt{lost(0), lost(14), lost(15)}, 1, 1},
		"it has answered, and is lost": {[]Attempt{ok(0), lost(1)}, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			counted := newTally()
			for _, a := range c.attempts {
				counted.record(peers{}, a)
			}
			var sent, gone int64
			for _, s := range counted.take() {
				sent, gone = sent+s.Sent, gone+s.Lost
			}
			if sent != c.sent || gone != c.lost {
				t.Errorf("%d of %d lost, want %d of %d", gone, sent, c.lost, c.sent)
			}
			if again := counted.take(); len(again) != 0 {
				t.Errorf("counted twice: %+v", again)
			}
		})
	}
}

func TestANumberIsOfOurs(t *testing.T) {
	for text, want := range map[string]bool{magic + "12345678": true, magic + "12345678, and more": true, magic + "1234567": false, "FLprobe212345678": false, "": false} {
		if _, got := numberOf([]byte(text)); got != want {
			t.Errorf("%q is ours: %t", text, got)
		}
	}
}

func TestTheRosterTellsOfChanges(t *testing.T) {
	var r roster
	all, changed := r.get()
	if len(all) != 0 {
		t.Fatalf("there are %v", all)
	}
	r.set([]Peer{{Node: "b"}, {Node: "a"}})
	<-changed
	if all, changed = r.get(); len(all) != 2 || all[0].Node != "a" {
		t.Errorf("there are %v, want a and b", all)
	}
	select {
	case <-changed:
		t.Error("it changed without a change")
	default:
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	if err := Run(context.Background(), Config{Node: "a", Namespace: "ns"}); err == nil {
		t.Error("a pod without addresses is probed from")
	}
}
