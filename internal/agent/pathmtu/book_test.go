// SPDX-License-Identifier: Apache-2.0

package pathmtu

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

var (
	begin = time.Unix(1_800_000_000, 0)
	own   = netip.MustParseAddr("192.0.2.100")
	one   = netip.MustParseAddr("192.0.2.1")
	one6  = netip.MustParseAddr("2001:db8::1")
	two   = netip.MustParseAddr("192.0.2.2")
)

// punctual is a book without chance.
func punctual(peers ...Peer) *book {
	b := newBook(func(time.Duration) time.Duration { return 0 })
	b.setPeers(peers, begin)
	return b
}

func found(mtu, uplink int) finding { return finding{local: own, uplink: uplink, mtu: mtu} }

// takeAll takes everything that is due.
func takeAll(b *book, now time.Time) (out []netip.Addr) {
	for {
		a, ok := b.take(now)
		if !ok {
			return out
		}
		out = append(out, a)
	}
}

func TestWhatIsMeasuredWhen(t *testing.T) {
	b := punctual(Peer{"a", []netip.Addr{one}}, Peer{"b", []netip.Addr{two}})
	if got := takeAll(b, begin); !slices.Equal(got, []netip.Addr{one, two}) {
		t.Fatalf("at the start %v are due, want all", got)
	}
	if due, ok := b.next(); ok {
		t.Errorf("what is being measured is due again at %s", due)
	}
	b.note(one, found(1500, 1500), begin)
	b.note(two, finding{}, begin)
	for i, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		due := begin.Add(pause * time.Minute)
		b.entries[one].due = begin.Add(1000 * time.Hour)
		if next, _ := b.next(); !next.Equal(due) {
			t.Fatalf("silent for the time %d: asked again at %s, want after %d minutes", i+1, next.Sub(begin), pause)
		}
		if got := takeAll(b, due); !slices.Equal(got, []netip.Addr{two}) {
			t.Fatalf("due: %v", got)
		}
		b.note(two, finding{}, begin)
	}
	// It answers after all, and then is silent again: that is a first time anew.
	takeAll(b, begin.Add(time.Hour))
	b.note(two, found(1500, 1500), begin)
	takeAll(b, begin.Add(time.Hour))
	b.note(two, finding{}, begin)
	if due := b.entries[two].due; !due.Equal(begin.Add(time.Minute)) {
		t.Errorf("asked again after %s", due.Sub(begin))
	}
	b.entries[one].due = begin
	takeAll(b, begin)
	b.note(one, found(1500, 1500), begin)
	if due := b.entries[one].due; !due.Equal(begin.Add(10 * time.Minute)) {
		t.Errorf("what is known is measured again after %s", due.Sub(begin))
	}
}

func TestPeersComeAndGo(t *testing.T) {
	b := punctual(Peer{"a", []netip.Addr{one}})
	takeAll(b, begin)
	b.note(one, found(1400, 1500), begin)
	if b.setPeers([]Peer{{"a", []netip.Addr{one}}}, begin) || len(takeAll(b, begin)) != 0 {
		t.Error("the same peers are measured again")
	}
	if !b.setPeers([]Peer{{"a", []netip.Addr{two}}}, begin) {
		t.Error("a new address is nothing new")
	}
	if got := takeAll(b, begin); !slices.Equal(got, []netip.Addr{two}) {
		t.Errorf("due after the address changed: %v", got)
	}
	if p := b.path("a"); p.MTU != 0 || p.Reduced {
		t.Errorf("the former address's path is taken for the new one's: %+v", p)
	}
	b.setPeers(nil, begin)
	b.note(two, found(1400, 1500), begin) // its search was under way
	if len(b.paths()) != 0 || len(b.entries) != 0 {
		t.Errorf("left: %v", b.paths())
	}
}

func TestWhatIsKnownOfAPath(t *testing.T) {
	for _, c := range []struct {
		name string
		note func(*book)
		want Path
	}{
		{"nothing yet", func(*book) {}, Path{Peer: "a"}},
		{"all arrives", func(b *book) { b.note(one, found(1500, 1500), begin) }, Path{Peer: "a", MTU: 1500}},
		{"less arrives", func(b *book) { b.note(one, found(1400, 1500), begin) }, Path{"a", 1400, true}},
		{"a second address that is silent says nothing", func(b *book) {
			b.note(one, found(1500, 1500), begin)
			b.note(one6, finding{}, begin)
		}, Path{Peer: "a", MTU: 1500}},
		{"of two addresses the narrower path counts", func(b *book) {
			b.note(one, found(1500, 1500), begin)
			b.note(one6, found(1280, 1500), begin)
		}, Path{"a", 1280, true}},
		{"a peer that restarts keeps what is known", func(b *book) {
			b.note(one, found(1400, 1500), begin)
			b.note(one, finding{}, begin)
		}, Path{"a", 1400, true}},
		{"a path that widens", func(b *book) {
			b.note(one, found(1400, 1500), begin)
			b.note(one, found(1500, 1500), begin)
		}, Path{Peer: "a", MTU: 1500}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := punctual(Peer{"a", []netip.Addr{one, one6}})
			c.note(b)
			if got := b.path("a"); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestAnotherUplinkMakesItsPathsStale(t *testing.T) {
	b := punctual(Peer{"a", []netip.Addr{one}}, Peer{"b", []netip.Addr{two}}, Peer{"c", []netip.Addr{one6}})
	takeAll(b, begin)
	b.note(one, found(1500, 1500), begin)
	b.note(two, finding{local: one6, uplink: 9000, mtu: 9000}, begin)
	b.note(one6, finding{}, begin)
	if got := b.locals(); len(got) != 2 || got[own] != 1500 || got[one6] != 9000 {
		t.Fatalf("paths were measured from %v", got)
	}
	b.stale(map[netip.Addr]bool{own: true}, begin)
	if got := takeAll(b, begin); !slices.Equal(got, []netip.Addr{one}) {
		t.Errorf("due: %v, want what was measured by the uplink that changed", got)
	}
}
