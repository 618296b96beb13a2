// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-io/fairlead/internal/probe"
)

// tally counts attempts until they are reported.
type tally struct {
	mu      sync.Mutex
	counted map[track]*probe.Sample
	// trying has since when peers are tried that have not answered once; counting has
	// since when attempts at the others count: the first one that was answered, or the
	// end of the grace.
	trying   map[track]time.Time
	counting map[track]time.Time
}

// track is one probe's attempts at one peer.
type track struct{ probe, peer string }

func newTally() *tally {
	return &tally{counted: map[track]*probe.Sample{}, trying: map[track]time.Time{}, counting: map[track]time.Time{}}
}

// record counts one attempt of a probe.
func (t *tally) record(p Probe, a Attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	on := track{p.Name(), a.Peer}
	if !t.counts(on, a, p.Grace()) {
		return
	}
	s := t.counted[on]
	if s == nil {
		s = &probe.Sample{Probe: on.probe, Peer: on.peer, Times: probe.Times{}}
		t.counted[on] = s
	}
	s.Sent++
	if a.Lost {
		s.Lost++
	} else {
		s.Times.Add(a.Took)
	}
}

// counts says whether an attempt counts: not when it failed and was made while its peer had
// never answered and might have been about to start.
func (t *tally) counts(on track, a Attempt, grace time.Duration) bool {
	if since, yes := t.counting[on]; yes {
		return !a.Lost || !a.Began.Before(since)
	}
	since, tried := t.trying[on]
	if !tried {
		since, t.trying[on] = a.Began, a.Began
	}
	if a.Lost && a.Began.Sub(since) < grace {
		return false
	}
	delete(t.trying, on)
	t.counting[on] = a.Began
	return true
}

// take returns what was counted since it was called last.
func (t *tally) take() []probe.Sample {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]probe.Sample, 0, len(t.counted))
	for _, s := range t.counted {
		out = append(out, *s)
	}
	clear(t.counted)
	slices.SortFunc(out, func(a, b probe.Sample) int {
		return cmp.Or(cmp.Compare(a.Probe, b.Probe), cmp.Compare(a.Peer, b.Peer))
	})
	return out
}
