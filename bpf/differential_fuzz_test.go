// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/bpf/model"
)

// mostMeetings bounds how often one input is met.
const mostMeetings = 8

// FuzzProgramsAndModelAgree gives arbitrary bytes to the programs and to the model, at the
// hooks that an input names, one after the other.
func FuzzProgramsAndModelAgree(f *testing.F) {
	s := newSpace(f)
	nodes := make([]*node, len(shapes))
	for i := range nodes {
		nodes[i] = newNode(f, s, shapes[i])
	}
	all := []byte{0, 1, 2, 3, 4, 5, 0x42, 0x84}
	d := &differential{t: f, r: rand.New(rand.NewPCG(1, 1)), n: nodes[0]}
	must(f, d.n.reset())
	for i := range 24 {
		f.Add(uint8(i), all, d.packet(bpf.Hook(i%2)*bpf.HookFromOverlay))
	}
	f.Add(uint8(0), []byte{2, 4, 4}, d.tunnelled(udp(f, farPods[0], pod4, 1, 2)))
	f.Fuzz(func(t *testing.T, which uint8, hooks, in []byte) {
		if len(in) < 34 || len(in) > 3000 {
			return // the kernel takes no such packet for a run
		}
		n := nodes[int(which)%len(nodes)]
		n.k.t = t
		must(t, n.reset())
		var steps []step
		for _, h := range hooks[:min(len(hooks), mostMeetings)] {
			m := n.meetingOf(h, in)
			steps = append(steps, step{Packet: &m})
			_, err := n.apply(steps[len(steps)-1])
			var problem *difference
			switch {
			case errors.As(err, &problem):
				(&differential{t: t, n: n}).report(steps, problem)
				return
			case errors.Is(err, errRefused), errors.Is(err, errClockMoved):
			default:
				must(t, err)
			}
		}
		problems, err := n.compareNotes()
		must(t, err)
		for _, p := range problems {
			t.Error(p)
		}
	})
}

// meetingOf reads a byte as where a packet is met: a hook, and what else there is to choose.
func (n *node) meetingOf(choice byte, in []byte) met {
	m := met{Meeting: model.Meeting{Hook: bpf.Hook(choice&7) % bpf.HookCount, Ifindex: n.space.pods[choice>>6&1].index}, Bytes: append([]byte(nil), in...)}
	odd := choice&0x80 != 0
	switch m.Hook {
	case bpf.HookFromPod:
		m.Segment = int(choice>>3&7) * 200
	case bpf.HookFromOverlay:
		m.Key, m.VNI, m.Sender = true, n.shape.VNI, n.ends[choice>>3&3]
	case bpf.HookToUplink:
		m.Ingress, m.Past = m.Ifindex, odd
	case bpf.HookFromUplink:
		m.Ifindex, m.Mine = n.space.uplink.index, true
		if odd {
			m.Bytes = newOuter(n.world.TunnelAddress, n.ends[choice>>3&3], n.shape, in).packet
		}
		copy(m.Bytes, n.space.uplink.mac[:])
	}
	return m
}
