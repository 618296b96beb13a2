// SPDX-License-Identifier: Apache-2.0

package pathmtu

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// again is when a path is measured anew that was measured.
	again = 10 * time.Minute
	// silentFirst and silentLast bound the pause before a peer is asked again that did
	// not answer; it doubles in between.
	silentFirst = time.Minute
	silentLast  = 30 * time.Minute
	// spread is the time over which peers that come together are measured first, so
	// that the nodes of a cluster that starts do not all ask at once.
	spread = 2 * time.Second
)

// Peer is a node to measure the path to.
type Peer struct {
	Name      string
	Addresses []netip.Addr
}

// Path is what is known of the path to a peer.
type Path struct {
	Peer string
	// MTU is the largest packet that arrives, in bytes; 0 when it is not known. Of a
	// peer with several addresses it is the least.
	MTU int
	// Reduced says that larger packets leave this node than arrive at the peer.
	Reduced bool
}

// finding is the result of one search.
type finding struct {
	local  netip.Addr // address that the packets were sent from
	uplink int        // MTU of its device, bytes
	mtu    int        // largest that arrived; 0 for none
}

// entry is one address of a peer.
type entry struct {
	due    time.Time
	busy   bool
	silent int // searches in a row that found nothing
	known  finding
}

// book says which address is to be measured when, and keeps what was found. It is pure:
// the time is given to it.
type book struct {
	jitter  func(time.Duration) time.Duration // a random part of a duration
	peers   map[string][]netip.Addr
	entries map[netip.Addr]*entry
}

func newBook(jitter func(time.Duration) time.Duration) *book {
	return &book{jitter: jitter, peers: map[string][]netip.Addr{}, entries: map[netip.Addr]*entry{}}
}

// setPeers makes exactly these the peers, and says whether an address is new.
func (b *book) setPeers(peers []Peer, now time.Time) (more bool) {
	b.peers = make(map[string][]netip.Addr, len(peers))
	wanted := map[netip.Addr]bool{}
	for _, p := range peers {
		b.peers[p.Name] = slices.Clone(p.Addresses)
		for _, a := range p.Addresses {
			wanted[a] = true
			if b.entries[a] == nil {
				b.entries[a] = &entry{due: now.Add(b.jitter(spread))}
				more = true
			}
		}
	}
	for a := range b.entries {
		if !wanted[a] {
			delete(b.entries, a)
		}
	}
	return more
}

// take returns the address that is due the longest and marks it as being measured.
func (b *book) take(now time.Time) (netip.Addr, bool) {
	a, e := b.first()
	if e == nil || e.due.After(now) {
		return netip.Addr{}, false
	}
	e.busy = true
	return a, true
}

// next returns when the next address is due, false when none waits.
func (b *book) next() (time.Time, bool) {
	if _, e := b.first(); e != nil {
		return e.due, true
	}
	return time.Time{}, false
}

func (b *book) first() (first netip.Addr, at *entry) {
	for a, e := range b.entries {
		if !e.busy && (at == nil || e.due.Before(at.due) || e.due.Equal(at.due) && a.Less(first)) {
			first, at = a, e
		}
	}
	return first, at
}

// note keeps what a search found. A peer that was measured and now is silent, perhaps
// because it restarts, keeps what is known of it.
func (b *book) note(a netip.Addr, f finding, now time.Time) {
	e := b.entries[a]
	if e == nil {
		return
	}
	e.busy = false
	if f.mtu == 0 {
		pause := min(silentFirst<<min(e.silent, 10), silentLast)
		e.silent++
		e.due = now.Add(pause + b.jitter(pause/5))
		return
	}
	e.silent, e.known = 0, f
	e.due = now.Add(again + b.jitter(again/5))
}

// locals are the addresses of this node that paths were measured from.
func (b *book) locals() map[netip.Addr]int {
	out := map[netip.Addr]int{}
	for _, e := range b.entries {
		if e.known.local.IsValid() {
			out[e.known.local] = e.known.uplink
		}
	}
	return out
}

// stale makes every path due again that was measured from one of these addresses.
func (b *book) stale(locals map[netip.Addr]bool, now time.Time) {
	for _, e := range b.entries {
		if locals[e.known.local] {
			e.due = now.Add(b.jitter(spread))
		}
	}
}

// path returns what is known of the path to a peer.
func (b *book) path(peer string) Path {
	p := Path{Peer: peer}
	for _, a := range b.peers[peer] {
		e := b.entries[a]
		if e == nil || e.known.mtu == 0 {
			continue
		}
		if p.MTU == 0 || e.known.mtu < p.MTU {
			p.MTU = e.known.mtu
		}
		p.Reduced = p.Reduced || e.known.mtu < e.known.uplink
	}
	return p
}

// paths returns all peers' paths, sorted by peer.
func (b *book) paths() []Path {
	out := make([]Path, 0, len(b.peers))
	for name := range b.peers {
		out = append(out, b.path(name))
	}
	slices.SortFunc(out, func(a, b Path) int { return strings.Compare(a.Peer, b.Peer) })
	return out
}
