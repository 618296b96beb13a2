// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"cmp"
	"slices"
	"time"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/probe"
)

// NodeReading is what one node's probes have reported of late.
type NodeReading struct {
	// Node and Pod by name, and the image that the pod was made with.
	Node, Pod, Image string
	// Ready says that the pod is.
	Ready bool
	// Why says what keeps the node from being read, "" for nothing.
	Why string
	// Known is since when the pod is looked at without a break, by the operator's clock.
	Known time.Time
	// LastTo is when a new report was last found, by the same clock; zero: never.
	LastTo time.Time
	// Covered is the time that the reports are about.
	Covered time.Duration
	// Probes by name.
	Probes []ProbeReading
}

// ProbeReading is what one probe of a node measured.
type ProbeReading struct {
	// Probe by name.
	Probe string
	// Sent is the number of attempts, Lost how many of them failed.
	Sent, Lost int64
	// Times that the others took.
	Times probe.Times
	// Periods has the 99th percentile of each period, sorted: what is slow in one
	// period of many is a busy machine.
	Periods []time.Duration
	// Peers by name.
	Peers []PeerReading
}

// PeerReading is what became of the attempts at one peer.
type PeerReading struct {
	Peer       string
	Sent, Lost int64
}

// ReadingOf returns the reading of a node from its reports; Read fills in the rest.
func ReadingOf(node string, reports []probe.Report) NodeReading {
	r := NodeReading{Node: node, Ready: true}
	for _, one := range reports {
		r.add(one)
		if one.To.After(r.LastTo) {
			r.LastTo = one.To
		}
	}
	return r
}

// add counts one report. The order of reports does not matter.
func (r *NodeReading) add(report probe.Report) {
	r.Covered += report.To.Sub(report.From)
	periods := map[string]probe.Times{}
	for _, s := range report.Samples {
		p := r.probe(s.Probe)
		p.Sent += s.Sent
		p.Lost += s.Lost
		p.Times.Merge(s.Times)
		peer := p.peer(s.Peer)
		peer.Sent += s.Sent
		peer.Lost += s.Lost
		if periods[s.Probe] == nil {
			periods[s.Probe] = probe.Times{}
		}
		periods[s.Probe].Merge(s.Times)
	}
	for name, times := range periods {
		if times.Count() == 0 {
			continue
		}
		p, slow := r.probe(name), times.Quantile(0.99)
		at, _ := slices.BinarySearch(p.Periods, slow)
		p.Periods = slices.Insert(p.Periods, at, slow)
	}
}

// probe returns the reading of a probe, a new one for one that is not there.
func (r *NodeReading) probe(name string) *ProbeReading {
	at, found := slices.BinarySearchFunc(r.Probes, name, func(p ProbeReading, name string) int { return cmp.Compare(p.Probe, name) })
	if !found {
		r.Probes = slices.Insert(r.Probes, at, ProbeReading{Probe: name, Times: probe.Times{}})
	}
	return &r.Probes[at]
}

func (p *ProbeReading) peer(name string) *PeerReading {
	at, found := slices.BinarySearchFunc(p.Peers, name, func(q PeerReading, name string) int { return cmp.Compare(q.Peer, name) })
	if !found {
		p.Peers = slices.Insert(p.Peers, at, PeerReading{Peer: name})
	}
	return &p.Peers[at]
}

// enough is how many answers a percentile of one node is taken from.
const enough = 10

// Sum adds up what all nodes measured, sorted by probe: what a status says. The percentile is
// that of the node where it is highest, among those with enough answers.
func Sum(readings []NodeReading) []v1alpha1.Measurement {
	byProbe := map[string]v1alpha1.Measurement{}
	for _, r := range readings {
		for _, p := range r.Probes {
			m := byProbe[p.Probe]
			m.Probe = p.Probe
			m.Sent += p.Sent
			m.Lost += p.Lost
			if p.Times.Count() >= enough {
				m.P99Microseconds = max(m.P99Microseconds, p.Times.Quantile(0.99).Microseconds())
			}
			byProbe[p.Probe] = m
		}
	}
	out := make([]v1alpha1.Measurement, 0, len(byProbe))
	for _, m := range byProbe {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b v1alpha1.Measurement) int { return cmp.Compare(a.Probe, b.Probe) })
	return out
}
