// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

const (
	// fewest is how many lost attempts mean something.
	fewest = 3
	// byChance is how improbable the losses must be if the node lost what it may, and
	// unlikeBefore if it lost what was lost before. With nothing lost before, 2 % of 100
	// packets a second are found in about 5 seconds, and a network that loses 1 % at all
	// times is not taken for one that has become worse.
	byChance     = 0.01
	unlikeBefore = 1e-6

	// fewestAnswers and fewestPeriods are what a percentile that counts is taken from.
	fewestAnswers = enough
	fewestPeriods = 5

	// silence is how long a node's probes may say nothing, starting how long before they
	// have reported for the first time.
	silence  = 10 * time.Second
	starting = time.Minute
	// measuring is how long probes measure before one that has measured nothing counts.
	measuring = 9 * time.Second
)

// Verdict is a gate that does not hold.
type Verdict struct {
	// Reason is that of the condition Proven: ReasonProbeBreached or ReasonProbesNotRunning.
	Reason string
	// Node on which it does not hold, Probe that failed; the probe is empty when none reports.
	Node, Probe string
	// Message says what was measured and what is allowed.
	Message string
}

// finding is a Verdict and how bad it is among those of its kind.
type finding struct {
	Verdict
	kind   int
	excess float64
}

// The kinds of findings, the one to be told of first before others.
const (
	foundLoss = iota
	foundLatency
	foundSilence
)

// Judge compares what each node's probes measured with what all measured before, none for
// nothing, and returns the worst that is beyond its budget, nil when nothing is. A node that
// is not judged, because nobody expects its probes to report, must not be among the
// readings. now is the operator's clock.
func Judge(baseline []v1alpha1.Measurement, readings []NodeReading, gates v1alpha1.GatesSpec, now time.Time) *Verdict {
	if gates.Probes == v1alpha1.ProbesDisabled {
		return nil
	}
	var found []finding
	for _, r := range readings {
		if f := judgeSilence(r, baseline, len(readings), now); f != nil {
			found = append(found, *f)
		}
		for _, p := range r.Probes {
			before := measured(baseline, p.Probe)
			b := budgetOf(gates, p.Probe)
			if f := judgeLoss(r.Node, p, before, b); f != nil {
				found = append(found, *f)
			} else if f := judgeLatency(r.Node, p, before, b); f != nil {
				found = append(found, *f)
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	worst := slices.MinFunc(found, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(b.excess, a.excess), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Probe, b.Probe))
	})
	return &worst.Verdict
}

// measured returns what a probe measured before, nil when it did not.
func measured(baseline []v1alpha1.Measurement, probe string) *v1alpha1.Measurement {
	for i := range baseline {
		if baseline[i].Probe == probe && baseline[i].Sent > 0 {
			return &baseline[i]
		}
	}
	return nil
}

func judgeLoss(node string, p ProbeReading, before *v1alpha1.Measurement, b budget) *finding {
	if p.Lost < fewest {
		return nil
	}
	share, was, atMost := float64(p.Lost)/float64(p.Sent), 0.0, 0.0
	if before != nil {
		was = float64(before.Lost) / float64(before.Sent)
		// One more could as well have been lost, which matters where few were sent.
		atMost = float64(before.Lost+1) / float64(before.Sent+1)
	}
	allowed := was + b.loss
	if share <= allowed || chance(p.Sent, p.Lost, allowed) > byChance || chance(p.Sent, p.Lost, atMost) > unlikeBefore {
		return nil
	}
	than := "where nothing was measured before"
	if before != nil {
		than = "more than " + percent(was) + " before"
	}
	return &finding{kind: foundLoss, excess: share - allowed, Verdict: Verdict{
		Reason: v1alpha1.ReasonProbeBreached, Node: node, Probe: p.Probe,
		Message: fmt.Sprintf("probe %s on node %s: %s of %s attempts lost (%s), allowed %s %s%s",
			p.Probe, node, grouped(p.Lost), grouped(p.Sent), percent(share), percent(b.loss), than, worstPeer(p)),
	}}
}

// worstPeer says at which of several peers most was lost.
func worstPeer(p ProbeReading) string {
	if len(p.Peers) < 2 {
		return ""
	}
	share := func(q PeerReading) float64 { return float64(q.Lost) / float64(max(q.Sent, 1)) }
	worst := slices.MaxFunc(p.Peers, func(a, b PeerReading) int { return cmp.Compare(share(a), share(b)) })
	return fmt.Sprintf("; worst towards %s (%s)", worst.Peer, percent(share(worst)))
}

// judgeLatency looks at what the 99th percentile is in half of the periods: one burst of a
// busy machine is slow for the packets of one or two.
func judgeLatency(node string, p ProbeReading, before *v1alpha1.Measurement, b budget) *finding {
	if len(p.Periods) < fewestPeriods || p.Times.Count() < fewestAnswers {
		return nil
	}
	slow := p.Periods[(len(p.Periods)-1)/2]
	allowed, than := unknownLatency, "where nothing was measured before"
	if before != nil && before.P99Microseconds > 0 {
		was := time.Duration(before.P99Microseconds) * time.Microsecond
		allowed, than = 2*was+b.latency, fmt.Sprintf("(twice the %s of before, and %s)", was, b.latency)
	}
	if slow <= allowed {
		return nil
	}
	return &finding{kind: foundLatency, excess: float64(slow) / float64(allowed), Verdict: Verdict{
		Reason: v1alpha1.ReasonProbeBreached, Node: node, Probe: p.Probe,
		Message: fmt.Sprintf("probe %s on node %s: 99th percentile %s in most seconds, allowed %s %s", p.Probe, node, slow, allowed, than),
	}}
}

// measured says whether a probe of the node has measured anything.
func (r *NodeReading) measured(probe string) bool {
	return slices.ContainsFunc(r.Probes, func(p ProbeReading) bool { return p.Probe == probe && p.Sent > 0 })
}

// Unmeasured names a node whose probes have not measured all that the others did, before or
// now, "" for none: what it says of the change is not complete yet. A cluster of one node has
// no others.
func Unmeasured(baseline []v1alpha1.Measurement, readings []NodeReading) string {
	if len(readings) < 2 {
		return ""
	}
	for _, m := range slices.Concat(baseline, Sum(readings)) {
		for i := range readings {
			if m.Sent > m.Lost && !readings[i].measured(m.Probe) {
				return fmt.Sprintf("probe %s on node %s has not measured anything yet", m.Probe, readings[i].Node)
			}
		}
	}
	return ""
}

// judgeSilence finds a node whose probes report nothing, or have nothing to measure where
// others had.
func judgeSilence(r NodeReading, baseline []v1alpha1.Measurement, nodes int, now time.Time) *finding {
	may, since := silence, r.LastTo
	if since.IsZero() {
		may = starting
	}
	if r.Known.After(since) {
		since = r.Known
	}
	why := cmp.Or(r.Why, "nothing says why")
	silent := func(probe, what string, excess float64) *finding {
		return &finding{kind: foundSilence, excess: excess, Verdict: Verdict{
			Reason: v1alpha1.ReasonProbesNotRunning, Node: r.Node, Probe: probe, Message: what,
		}}
	}
	if quiet := now.Sub(since); quiet > may {
		return silent("", fmt.Sprintf("probes on node %s (pod %s) have reported nothing for %s: %s", r.Node, r.Pod, quiet.Round(time.Second), why), quiet.Seconds())
	}
	if nodes < 2 || r.Covered < measuring || now.Sub(r.Known) < starting {
		return nil
	}
	for _, before := range baseline {
		if before.Sent > before.Lost && !r.measured(before.Probe) {
			return silent(before.Probe, fmt.Sprintf("probe %s on node %s (pod %s) has measured nothing for %s: does the pod reach the API server, which tells it of the others?",
				before.Probe, r.Node, r.Pod, r.Covered.Round(time.Second)), 0)
		}
	}
	return nil
}
