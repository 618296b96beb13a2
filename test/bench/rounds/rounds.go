// SPDX-License-Identifier: Apache-2.0

// Package rounds measures subjects by turns: each round runs each case on each subject,
// in an order of its own, so that what disturbs the machine for a while disturbs all of
// them, and figures of one round can be compared.
package rounds

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/fairlead-io/fairlead/test/bench/load"
	"github.com/fairlead-io/fairlead/test/bench/programs"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

// Step is a case of a round.
type Step struct {
	// Name is the case's name in the report.
	Name string
	Case load.Case
	// IPv6 measures over IPv6, where a subject has it.
	IPv6     bool
	Duration time.Duration
	// Live measures the time of eBPF programs meanwhile, and nothing else, of subjects
	// that have some.
	Live bool
}

// Key names a series of samples.
type Key struct {
	Step, Subject string
	Metric        load.Metric
}

// Samples are what was measured: one value a round and key.
type Samples struct {
	rounds int
	values map[Key]map[int]float64
}

// NewSamples returns an empty set.
func NewSamples() *Samples { return &Samples{values: map[Key]map[int]float64{}} }

// Rounds is how many rounds were begun.
func (s *Samples) Rounds() int { return s.rounds }

// Add records a value of the current round.
func (s *Samples) Add(round int, k Key, v float64) {
	if s.values[k] == nil {
		s.values[k] = map[int]float64{}
	}
	s.values[k][round] = v
	s.rounds = max(s.rounds, round+1)
}

// Of returns the values of a series, in the order of rounds.
func (s *Samples) Of(k Key) []float64 {
	var out []float64
	for r := range s.rounds {
		if v, ok := s.values[k][r]; ok {
			out = append(out, v)
		}
	}
	return out
}

// Ratios returns, for each round that has both, the value of k divided by that of a
// reference's.
func (s *Samples) Ratios(k Key, reference string) []float64 {
	below := k
	below.Subject = reference
	var out []float64
	for r := range s.rounds {
		v, ok := s.values[k][r]
		w, ok2 := s.values[below][r]
		if ok && ok2 && w != 0 {
			out = append(out, v/w)
		}
	}
	return out
}

// attempts is how often a measurement that fails is tried: one datagram that is lost must
// not end ten minutes of work.
const attempts = 3

// Plan is what rounds are made of.
type Plan struct {
	Pairs []*topo.Pair
	Steps []Step
	// Wanted says which step is run on which subject.
	Wanted func(step, subject string) bool
	// Say is told what is done.
	Say func(format string, args ...any)
}

// Run adds n rounds to the samples.
func (p Plan) Run(ctx context.Context, into *Samples, n int) error {
	first := into.rounds
	order := append([]*topo.Pair{}, p.Pairs...)
	for round := first; round < first+n; round++ {
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, step := range p.Steps {
			for _, pair := range order {
				if step.IPv6 && !pair.Server6.IsValid() || step.Live && !pair.Fairlead() || !p.Wanted(step.Name, pair.Subject) {
					continue
				}
				p.Say("round %d of %d: %s %s", round-first+1, n, step.Name, pair.Subject)
				m, err := measure(ctx, pair, step, p.Say)
				if err != nil {
					return fmt.Errorf("round %d: subject %s: %w", round-first+1, pair.Subject, err)
				}
				for metric, v := range m {
					into.Add(round, Key{step.Name, pair.Subject, metric}, v)
				}
			}
		}
	}
	return nil
}

func measure(ctx context.Context, pair *topo.Pair, step Step, say func(string, ...any)) (m load.Measurement, err error) {
	spec := load.Spec{Case: step.Case, Server: pair.Server4, Duration: step.Duration, Via: pair.Via, Ports: pair.Ports, Cgroup: pair.Cgroup}
	if step.IPv6 {
		spec.Server = pair.Server6
	}
	once := func() (err error) {
		m, err = load.Run(ctx, pair.Client.NS, pair.Server.NS, spec)
		return err
	}
	if step.Live {
		traffic := once
		once = func() error {
			ns, err := programs.Live(traffic)
			m = load.Measurement{load.ProgramTime: ns}
			return err
		}
	}
	for range attempts {
		if err = once(); err == nil || ctx.Err() != nil {
			return m, err
		}
		say("again, since it failed: %v", err)
	}
	return nil, err
}
