// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// packetsPerSecond is what a node sends to all its peers together.
	packetsPerSecond = 100
	// flowLife is how long packets have the same ports. New flows take another way
	// through a node than known ones: both are to be seen.
	flowLife = 5 * time.Second
)

// offsets say which peers a node has in the sorted list of all: every node is the peer of as
// many others, however many there are.
var offsets = []int{1, 2, 4, 8}

// peers sends datagrams to pods of other nodes, which send them back.
type peers struct{}

func (peers) Name() string         { return "peers" }
func (peers) Grace() time.Duration { return 15 * time.Second }

// target is one address of a peer.
type target struct {
	node    string
	address netip.Addr
}

func (t target) String() string {
	if t.address.Is4() {
		return "node " + t.node + " by IPv4"
	}
	return "node " + t.node + " by IPv6"
}

// Run keeps one sender for each target, and ends those of targets that are no more.
func (peers) Run(ctx context.Context, env *Env, record func(Attempt)) {
	var running sync.WaitGroup
	defer running.Wait()
	senders := map[target]*sender{}
	for {
		all, changed := env.roster.get()
		wanted := targets(env.Node, env.Addresses, all)
		for t, s := range senders {
			if !slices.Contains(wanted, t) {
				s.end()
				delete(senders, t)
			}
		}
		for _, t := range wanted {
			s := senders[t]
			if s == nil {
				s = startSender(ctx, &running, t, env, record)
				senders[t] = s
			}
			s.every.Store(int64(time.Second) * int64(len(wanted)) / packetsPerSecond)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// targets returns the addresses of a node's peers, of the families that it has itself.
func targets(node string, own []netip.Addr, all []Peer) []target {
	self := slices.IndexFunc(all, func(p Peer) bool { return p.Node == node })
	if self < 0 {
		return nil // not ready, or not known to be, and no node knows where we are
	}
	var out []target
	for _, offset := range offsets {
		at := (self + offset) % len(all)
		if at == self || slices.ContainsFunc(out, func(t target) bool { return t.node == all[at].Node }) {
			continue
		}
		for _, a := range all[at].Addresses {
			if slices.ContainsFunc(own, func(o netip.Addr) bool { return o.Is4() == a.Is4() }) {
				out = append(out, target{all[at].Node, a})
			}
		}
	}
	return out
}
