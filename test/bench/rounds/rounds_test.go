// SPDX-License-Identifier: Apache-2.0

package rounds

import (
	"slices"
	"testing"

	"github.com/fairlead-io/fairlead/test/bench/load"
)

// TestRatiosPairRounds: a round in which the machine was slow is slow for both.
func TestRatiosPairRounds(t *testing.T) {
	s := NewSamples()
	ours, theirs := Key{"tcp_rr", "ours", load.P50}, Key{"tcp_rr", "theirs", load.P50}
	for round, v := range []float64{10, 30, 10} {
		s.Add(round, theirs, v)
		if round != 2 { // one round has no figure of ours
			s.Add(round, ours, v/2)
		}
	}
	s.Add(3, ours, 7) // and one none of theirs
	if got := s.Ratios(ours, "theirs"); !slices.Equal(got, []float64{0.5, 0.5}) {
		t.Errorf("ratios are %v, want two of 0.5", got)
	}
	if got := s.Of(ours); !slices.Equal(got, []float64{5, 15, 7}) {
		t.Errorf("values are %v", got)
	}
	if s.Rounds() != 4 {
		t.Errorf("%d rounds, want 4", s.Rounds())
	}
}
