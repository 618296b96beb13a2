// SPDX-License-Identifier: Apache-2.0

package target

import "testing"

func TestBoundsIncludeTheirEnd(t *testing.T) {
	ceiling := Target{Reference: "x", AtMost: true, Goal: 0.9, Gate: 1.2}
	floor := Target{Reference: "x", Goal: 1, Gate: 0.8}
	for _, tc := range []struct {
		t           Target
		figure      float64
		met, passes bool
	}{
		{ceiling, 0.9, true, true}, {ceiling, 0.91, false, true}, {ceiling, 1.2, false, true}, {ceiling, 1.21, false, false},
		{floor, 1, true, true}, {floor, 0.99, false, true}, {floor, 0.8, false, true}, {floor, 0.79, false, false},
		{Target{AtMost: true, Goal: 5}, 1e9, false, true},
	} {
		if got := tc.t.Met(tc.figure); got != tc.met {
			t.Errorf("%s: %v is met: %v, want %v", tc.t.Bound(tc.t.Goal), tc.figure, got, tc.met)
		}
		if got := tc.t.Passes(tc.figure); got != tc.passes {
			t.Errorf("%s: %v passes: %v, want %v", tc.t.Bound(tc.t.Gate), tc.figure, got, tc.passes)
		}
	}
}

// TestGatesAreLooserThanGoals: a gate that is stricter would fail what is good enough.
func TestGatesAreLooserThanGoals(t *testing.T) {
	for _, one := range Table {
		if one.Gate == 0 {
			continue
		}
		if one.Reference == "" {
			t.Errorf("%s of %s: an absolute figure has a gate: no two machines agree on it", one.Case, one.Subject)
		}
		if one.Met(one.Gate) {
			t.Errorf("%s of %s: gate %v is within the goal %v", one.Case, one.Subject, one.Gate, one.Goal)
		}
	}
}
