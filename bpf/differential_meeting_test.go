// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/bpf/model"
)

// differential makes up what happens to a node.
type differential struct {
	t testing.TB
	r *rand.Rand
	n *node
	// arrived are packets that the tunnel device handed to pods, sent those of pods that
	// went past the stack.
	arrived, sent []met
}

func pickOf[T any](d *differential, all []T) T { return all[d.r.IntN(len(all))] }

// oneIn is true once in n times.
func (d *differential) oneIn(n int) bool { return d.r.IntN(n) == 0 }

// first returns the changes that make a node of a shape one of its own.
func (d *differential) first() []step {
	steps := make([]step, 8, 32)
	for i := range steps {
		steps[i] = d.change()
	}
	if d.oneIn(4) { // nobody has policies
		return steps
	}
	for range 24 {
		steps = append(steps, step{Change: &change{Policy: d.policyChange()}})
	}
	return steps
}

// answered are the flags of a connection that both ends take part in.
const answered = bpf.ConnectionSeen | bpf.ConnectionSeen<<1

func (d *differential) next() step {
	switch {
	case d.oneIn(120):
		return d.change()
	case d.oneIn(60):
		// As long as each of the lives of connections, or a tick longer.
		a := &age{Row: d.r.IntN(len(d.n.world.Table)), Seen: pickOf(d, []uint32{1, 10, 30, 60, 240, 280, 6940}) + uint32(d.r.IntN(2)), Checked: uint32(d.r.IntN(2))}
		if d.oneIn(6) {
			a.Row = everyRow
		}
		return step{Age: a}
	case d.oneIn(100):
		return step{Flags: pickOf(d, []uint8{answered, answered, answered, answered, bpf.ConnectionFin, bpf.ConnectionRst})}
	}
	m := d.meeting()
	return step{Packet: &m}
}

// change returns a change of the node's rows, or of the epoch alone.
func (d *differential) change() step {
	c := &change{}
	if len(d.n.world.Policies.Classes) > 0 && d.oneIn(2) {
		c.Policy = d.policyChange()
		return step{Change: c}
	}
	switch d.r.IntN(8) {
	case 0: // the epoch alone
	case 1:
		c.Peer, c.AsPeer = pickOf(d, d.n.ends), d.oneIn(2)
	case 2, 3:
		c.Endpoint = pickOf(d, ownPods)
		if !d.oneIn(4) {
			former := d.n.world.Endpoints[c.Endpoint]
			c.AsEndpoint = &model.Endpoint{Ingress: former.Ingress, Egress: former.Egress, Ifindex: pickOf(d, d.n.space.pods).index, MAC: [6]byte{2, 0, 0, 0, 0, byte(d.r.IntN(4))}}
		}
	default:
		c.Range = pickOf(d, slices.Concat(farRanges4, farRanges6, nestedRanges))
		nested := slices.Contains(nestedRanges, c.Range)
		if d.oneIn(10) || nested && d.oneIn(2) {
			return step{Change: c}
		}
		c.AsRange = &model.Range{Tunnel: pickOf(d, d.n.ends[:3]), Native: d.oneIn(3), MTU: pickOf(d, []int{100, 600, 1450, 80 + d.r.IntN(1400)})}
	}
	return step{Change: c}
}

// hooks has more of those that remember connections.
var hooks = []bpf.Hook{
	bpf.HookFromPod, bpf.HookFromPod, bpf.HookFromPod, bpf.HookToPod, bpf.HookFromOverlay, bpf.HookFromOverlay,
	bpf.HookToOverlay, bpf.HookFromUplink, bpf.HookFromUplink, bpf.HookToUplink,
}

// meeting makes a packet and where it is met.
func (d *differential) meeting() met {
	m := met{Meeting: model.Meeting{Hook: pickOf(d, hooks)}}
	m.Bytes = d.packet(m.Hook)
	d.oldFriend(&m)
	d.place(&m)
	if d.oneIn(6) {
		spoil(d.r, m.Bytes)
	}
	if d.oneIn(12) {
		m.Bytes = m.Bytes[:34+d.r.IntN(max(1, len(m.Bytes)-34))]
	}
	if d.oneIn(12) {
		m.Segment = d.segment(m.Bytes)
	}
	m.Tagged = d.oneIn(40)
	if m.Hook == bpf.HookFromUplink {
		d.toUplink(&m)
	}
	return m
}

// segment returns the size of segments to be: any, or one that with its headers fits just so
// into the way to a packet's destination, or just not. Headers are those of UDP and TCP, or
// the longest.
func (d *differential) segment(p []byte) int {
	room := d.rangeOf(destinationOf(p)).MTU - pickOf(d, []int{28, 40, 48, 60, 120, 120}) + d.r.IntN(2)
	if room < 1 || d.oneIn(3) {
		return 1 + d.r.IntN(1500)
	}
	return room
}

// oldFriend makes the packet, often, one that was met before, or an answer to it.
func (d *differential) oldFriend(m *met) {
	same, other := d.sent, d.arrived
	switch m.Hook {
	case bpf.HookFromPod:
		if d.oneIn(2) {
			other = d.sent // of one pod of this node to another
		}
	case bpf.HookFromOverlay, bpf.HookFromUplink:
		same, other = other, same
	case bpf.HookToPod, bpf.HookToOverlay, bpf.HookToUplink:
		if !d.oneIn(40) { // a flow that went past the stack and no longer does
			return
		}
	}
	if len(same) > 0 && d.oneIn(3) {
		m.Bytes = slices.Clone(d.lately(same))
		d.otherFlags(m.Bytes)
	} else if len(other) > 0 && d.oneIn(2) {
		m.Bytes = answerTo(d.lately(other))
		d.otherFlags(m.Bytes)
	}
}

// lately picks a packet that was met not long ago, so that its row is likely still there.
func (d *differential) lately(all []met) []byte {
	return all[max(0, len(all)-1-d.r.IntN(1+d.r.IntN(40)))].Bytes
}

// place says where a packet is met.
func (d *differential) place(m *met) {
	n := d.n
	m.Ifindex = n.space.pods[0].index
	switch m.Hook {
	case bpf.HookFromPod:
		if ep, ok := n.world.Endpoints[sourceOf(m.Bytes)]; ok {
			m.Ifindex = ep.Ifindex
		}
		if d.oneIn(20) { // a spoofed source
			m.Ifindex = pickOf(d, n.space.pods).index
		}
	case bpf.HookToPod:
		m.Ingress = pickOf(d, []uint32{0, n.space.pods[0].index, n.space.pods[1].index, n.space.uplink.index})
	case bpf.HookFromOverlay:
		m.Key, m.VNI, m.Sender = true, n.shape.VNI, d.senderOf(m.Bytes)
		switch d.r.IntN(40) {
		case 0:
			m.VNI ^= 2
		case 1:
			m.Key, m.VNI, m.Sender = false, 0, netip.Addr{}
		}
	case bpf.HookToOverlay:
		if d.oneIn(4) {
			m.Key, m.VNI, m.Sender = true, n.shape.VNI, n.ends[0]
		}
	case bpf.HookToUplink:
		m.Past = d.oneIn(6)
		m.Ingress = pickOf(d, []uint32{0, n.space.pods[0].index, n.space.uplink.index})
	case bpf.HookFromUplink:
		m.Ifindex = n.space.uplink.index
		if d.oneIn(30) {
			m.Ifindex = n.space.former.index
		}
		if !d.oneIn(4) {
			m.Bytes = d.tunnelled(m.Bytes)
		}
	}
}

// toUplink addresses a packet to the uplink, or to another device on its wire.
func (d *differential) toUplink(m *met) {
	mac := d.n.space.uplink.mac
	if m.Ifindex != d.n.space.uplink.index {
		mac = d.n.space.former.mac
	}
	m.Mine = !d.oneIn(10)
	if !m.Mine {
		mac[5] ^= 2
	}
	copy(m.Bytes, mac[:])
}

// sourceOf returns the address where the source of an IP packet would stand.
func sourceOf(p []byte) netip.Addr {
	switch {
	case p[12] == 8 && p[13] == 0:
		return netip.AddrFrom4([4]byte(p[26:]))
	case p[12] == 8 && p[13] == 6:
		return netip.AddrFrom4([4]byte(p[28:]))
	}
	return netip.AddrFrom16([16]byte(p[22:]))
}

// destinationOf returns the address where the destination of an IP packet would stand.
func destinationOf(p []byte) netip.Addr {
	switch {
	case p[12] == 8 && len(p) >= 34:
		return netip.AddrFrom4([4]byte(p[30:]))
	case len(p) >= 54:
		return netip.AddrFrom16([16]byte(p[38:]))
	}
	return netip.Addr{}
}

// rangeOf returns the longest range that has an address.
func (d *differential) rangeOf(a netip.Addr) model.Range {
	best := netip.Prefix{}
	for r := range d.n.world.Ranges {
		if r.Contains(a) && r.Bits() > best.Bits() {
			best = r
		}
	}
	return d.n.world.Ranges[best]
}

// senderOf returns a tunnel end: mostly that of the node which has the packet's source.
func (d *differential) senderOf(p []byte) netip.Addr {
	if end := d.rangeOf(sourceOf(p)).Tunnel; end.IsValid() && !d.oneIn(8) {
		return end
	}
	return pickOf(d, d.n.ends)
}

// spoil changes some bytes behind the MAC addresses.
func spoil(r *rand.Rand, packet []byte) {
	for range 1 + r.IntN(3) {
		packet[12+r.IntN(min(len(packet)-12, 90))] ^= byte(1 << r.IntN(8))
	}
}
