// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/bpf/model"
)

// How many packets are tried, and from which seed; `make packets` tries a million.
const (
	packetCases    = "FAIRLEAD_PACKET_CASES"
	packetSeed     = "FAIRLEAD_PACKET_SEED"
	defaultCases   = 20000
	stepsInOneLife = 1000
	// So often all notes of flows via the stack are looked at.
	stepsBetweenNotes = 50
)

func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s is %q, want a number", name, s)
	}
	return n
}

// TestProgramsAndModelAgree sends random packets, good and bad, through the programs of
// random nodes, and expects what the model says: action, bytes, counters and rows.
func TestProgramsAndModelAgree(t *testing.T) {
	cases, seed := setting(t, packetCases, defaultCases), setting(t, packetSeed, rand.Uint64())
	t.Logf("%d packets, %s=%d", cases, packetSeed, seed)
	s := newSpace(t)
	nodes := make([]*node, len(shapes))
	seen := outcomes{}
	for life := uint64(0); seen.judged() < cases; life++ {
		i := life % uint64(len(shapes))
		if nodes[i] == nil {
			nodes[i] = newNode(t, s, shapes[i])
		}
		d := &differential{t: t, r: rand.New(rand.NewPCG(seed, life)), n: nodes[i]}
		if d.live(seen); t.Failed() {
			t.Fatalf("in life %d of %s=%d", life, packetSeed, seed)
		}
	}
	t.Logf("%d packets, 0 differences; outcomes: %v", seen.judged(), seen)
	if cases >= defaultCases {
		seen.wantAll(t)
	}
}

// live lets a node live through random steps, as long as there is no difference.
func (d *differential) live(seen outcomes) {
	d.t.Helper()
	must(d.t, d.n.reset())
	steps := d.first()
	for _, s := range steps {
		_, err := d.n.apply(s)
		must(d.t, err)
	}
	for i := range stepsInOneLife {
		s := d.next()
		steps = append(steps, s)
		want, err := d.n.apply(s)
		if problem := new(difference); errors.As(err, &problem) {
			d.report(steps, problem)
			return
		}
		switch {
		case errors.Is(err, errRefused):
			seen["not run by the kernel"]++
			continue
		case errors.Is(err, errClockMoved):
			seen["not judged: the clock moved"]++
			d.remember(*s.Packet, want) // so that a seed makes the same packets each time
			continue
		}
		must(d.t, err)
		if s.Packet != nil {
			d.remember(*s.Packet, want)
			seen.count(*s.Packet, want)
		}
		if i%stepsBetweenNotes == 0 || i == stepsInOneLife-1 {
			problems, err := d.n.compareNotes()
			must(d.t, err)
			if len(problems) > 0 {
				d.t.Errorf("after %d steps: %s", len(steps), strings.Join(problems, "\n"))
				return
			}
		}
	}
}

// remember keeps packets to meet them once more.
func (d *differential) remember(m met, want model.Outcome) {
	if want.Action != model.Redirect {
		return
	}
	m.Bytes = slices.Clone(m.Bytes)
	switch m.Hook {
	case bpf.HookFromOverlay:
		d.arrived = append(d.arrived, m)
	case bpf.HookFromPod:
		d.sent = append(d.sent, m)
	}
}

// report tells of a difference, by as few steps as lead to it.
func (d *differential) report(steps []step, was *difference) {
	d.t.Helper()
	short, found := d.n.shrink(steps)
	if found == nil { // it depends on when the clock moved
		short, found = steps[len(steps)-1:], was
	}
	var b strings.Builder
	for _, s := range short {
		b.WriteString(s.String())
	}
	d.t.Errorf("a program and the model differ on a node %+v, after %d steps (of %d):\n%s%v", d.n.shape, len(short), len(steps), b.String(), found)
}

// outcomes are what was seen, and how often.
type outcomes map[string]uint64

// outOfTunnel is the outcome of packets that from_uplink takes out of the tunnel itself,
// intoTunnel of those that from_pod puts into it.
const (
	outOfTunnel = "taken out of the tunnel"
	intoTunnel  = "put into the tunnel"
)

func (o outcomes) judged() uint64 {
	sum := uint64(0)
	for _, p := range bpf.Programs() {
		sum += o[p.Name]
	}
	return sum
}

func (o outcomes) count(m met, want model.Outcome) {
	o[bpf.HookName(m.Hook)]++
	if want.Counted {
		o[bpf.ReasonName(want.Reason)]++
	}
	for _, e := range want.Events {
		o["flow "+bpf.FlowEventName(e)]++
	}
	switch {
	case m.Hook == bpf.HookFromUplink && len(want.Packet) < len(m.Bytes):
		o[outOfTunnel]++
	case m.Hook == bpf.HookFromPod && want.Reason == bpf.ReasonTunnel && len(want.Packet) > len(m.Bytes):
		o[intoTunnel]++
	}
}

// ofServices says whether a reason is one of packets to Services, which the model does not know.
func ofServices(r bpf.Reason) bool {
	return r >= bpf.ReasonService && r <= bpf.ReasonServiceTooBig || r >= bpf.ReasonDropSourceRange && r <= bpf.ReasonDropUnrouted
}

// wantAll expects every outcome that there is to have been met.
func (o outcomes) wantAll(t *testing.T) {
	t.Helper()
	want := []string{outOfTunnel, intoTunnel}
	for _, p := range bpf.Programs() {
		want = append(want, p.Name)
	}
	for r := range bpf.ReasonSlots {
		if name := bpf.ReasonName(r); name != "" && r != bpf.ReasonDropKernel && !ofServices(r) {
			want = append(want, name)
		}
	}
	for e := range bpf.FlowEventCount {
		if e != bpf.FlowContended { // takes two CPUs
			want = append(want, "flow "+bpf.FlowEventName(e))
		}
	}
	for _, name := range want {
		if o[name] == 0 {
			t.Errorf("no packet had the outcome %q: the test does not reach it", name)
		}
	}
}
