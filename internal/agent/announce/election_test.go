// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"net/netip"
	"slices"
	"testing"
)

var (
	vip4 = netip.MustParseAddr("192.0.2.100")
	vip6 = netip.MustParseAddr("2001:db8::100")
)

// view is an election of node c, the third of four.
func view(items ...Item) *election {
	e := newElection("c")
	if len(items) == 0 {
		items = []Item{{Address: vip4, Nodes: []string{"a", "b", "c", "d"}}}
	}
	e.setItems(items)
	e.decide()
	return e
}

// silence lets questions to peers go unanswered.
func silence(e *election, questions int, names ...string) {
	for range questions {
		for _, n := range names {
			e.asked(n)
		}
		e.decide()
	}
}

func owns(e *election, a netip.Addr) bool {
	own, _ := e.decide()
	return slices.ContainsFunc(own, func(it Item) bool { return it.Address == a })
}

func TestWhoAnnounces(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*election)
		want bool
	}{
		{"nothing is known of those before", func(*election) {}, false},
		{"all before are dead", func(e *election) { silence(e, deadAfter, "a", "b") }, true},
		{"one question short of it", func(e *election) { silence(e, deadAfter-1, "a", "b") }, false},
		{"one of two is dead", func(e *election) { silence(e, deadAfter, "a") }, false},
		{"an answer starts the count anew", func(e *election) {
			silence(e, deadAfter-1, "a", "b")
			e.heard("b", nil)
			silence(e, deadAfter-1, "a", "b")
		}, false},
		{"all before have left", func(e *election) { e.left("a"); e.left("b") }, true},
		{"one comes back", func(e *election) { silence(e, deadAfter, "a", "b"); e.heard("a", nil) }, false},
		{"those before cannot", func(e *election) {
			e.heard("a", []netip.Addr{vip4})
			e.heard("b", []netip.Addr{vip6, vip4})
		}, true},
		{"they can again", func(e *election) {
			e.heard("a", []netip.Addr{vip4})
			e.heard("b", []netip.Addr{vip4})
			e.heard("b", nil)
		}, false},
		{"this node cannot itself", func(e *election) {
			silence(e, deadAfter, "a", "b")
			e.refuses[vip4] = true
		}, false},
		{"it is no candidate any more", func(e *election) {
			silence(e, deadAfter, "a", "b")
			e.setItems([]Item{{Address: vip4, Nodes: []string{"a", "b", "d"}}})
		}, false},
		{"it has become the first", func(e *election) { e.setItems([]Item{{Address: vip4, Nodes: []string{"c", "a"}}}) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := view()
			c.do(e)
			if got := owns(e, vip4); got != c.want {
				t.Errorf("announces: %v", got)
			}
		})
	}
}

func TestWhoIsAsked(t *testing.T) {
	e := newElection("e")
	e.setItems([]Item{{Address: vip4, Nodes: []string{"a", "b", "c", "d", "e", "f"}}})
	if _, watch := e.decide(); !slices.Equal(watch, []string{"a", "b"}) {
		t.Fatalf("at first %v are asked; the first %d living ones are enough", watch, watchAlive)
	}
	silence(e, deadAfter, "a")
	if _, watch := e.decide(); !slices.Equal(watch, []string{"a", "b", "c"}) {
		t.Errorf("with a dead %v are asked", watch)
	}
	e.heard("a", nil)
	if _, watch := e.decide(); !slices.Equal(watch, []string{"a", "b"}) || e.peers["c"] != nil {
		t.Errorf("with a back %v are asked, and of c %+v is known", watch, e.peers["c"])
	}
}

// TestOneAnnouncesWhateverDies lets each subset of five nodes be dead, to everybody: of the
// others exactly one announces.
func TestOneAnnouncesWhateverDies(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	for dead := range 1 << len(names) {
		isDead := func(i int) bool { return dead>>i&1 == 1 }
		var announcing []string
		for self := range names {
			if isDead(self) {
				continue
			}
			e := newElection(names[self])
			e.setItems([]Item{{Address: vip4, Nodes: names}})
			for range 3 * deadAfter {
				_, watch := e.decide()
				for _, w := range watch {
					e.asked(w)
					if !isDead(slices.Index(names, w)) {
						e.heard(w, nil)
					}
				}
			}
			if owns(e, vip4) {
				announcing = append(announcing, names[self])
			}
		}
		if all := dead == 1<<len(names)-1; all != (len(announcing) == 0) || len(announcing) > 1 {
			t.Errorf("dead %05b: %v announce", dead, announcing)
		}
	}
}
