// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/bpf/model"
)

// TestCutAnywhere cuts packets of every kind behind each of their bytes, and expects of each
// hook what the model says.
func TestCutAnywhere(t *testing.T) {
	s := newSpace(t)
	tried := 0
	for i := range 2 { // tunnels over IPv4, over IPv6
		d := &differential{t: t, r: rand.New(rand.NewPCG(1, uint64(i))), n: newNode(t, s, shapes[i])}
		must(t, d.n.reset())
		for hook := range bpf.HookCount {
			pod, far := []netip.Addr{pod4, pod6}, []netip.Addr{farPods[0], farPods[len(farPods)-1]}
			if hook == bpf.HookFromOverlay || hook == bpf.HookFromUplink {
				pod, far = far, pod
			}
			for i := range pod {
				for _, p := range d.kinds(pod[i], far[i]) {
					m := met{Meeting: model.Meeting{Hook: hook}, Bytes: p}
					d.place(&m)
					if hook == bpf.HookFromUplink {
						d.toUplink(&m)
					}
					tried += d.cut(m)
				}
			}
		}
	}
	t.Logf("%d packets, no difference", tried)
}

// kinds returns a packet of every kind.
func (d *differential) kinds(src, dst netip.Addr) [][]byte {
	return [][]byte{
		d.transport(src, dst), d.echo(src, dst), d.icmpError(src, dst), d.other(src, dst), d.neighbour(src),
		d.fragment(d.transport(src, dst)), d.optioned(src, dst),
	}
}

// cut tries a packet at each length; it returns how many.
func (d *differential) cut(m met) int {
	d.t.Helper()
	const least, most = 34, 200 // below, no program is run; above, nobody looks into packets
	tried := 0
	for length := min(len(m.Bytes), most); length >= least; length-- {
		short := m
		short.Bytes = m.Bytes[:length]
		_, err := d.n.apply(step{Packet: &short})
		var problem *difference
		switch {
		case errors.As(err, &problem):
			d.t.Fatalf("%s%v", step{Packet: &short}, problem)
		case errors.Is(err, errRefused), errors.Is(err, errClockMoved):
			continue
		}
		must(d.t, err)
		tried++
	}
	return tried
}
