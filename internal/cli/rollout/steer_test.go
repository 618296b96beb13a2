// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"maps"
	"strings"
	"testing"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/cli/status"
)

// waits is a stack whose wave b waits for approval; c will need it later.
func waits() *v1alpha1.NetworkStack {
	s := &v1alpha1.NetworkStack{}
	s.Name, s.Generation, s.Status.ObservedGeneration = "production", 7, 7
	for name, approval := range map[string]v1alpha1.Approval{"b": v1alpha1.ApprovalRequired, "c": v1alpha1.ApprovalRequired} {
		s.Spec.Rollout.Waves = append(s.Spec.Rollout.Waves, v1alpha1.WaveSpec{Name: name, Approval: approval})
	}
	s.Status.Rollout = v1alpha1.RolloutStatus{Revision: "r1", Attempt: 2, Phase: v1alpha1.RolloutWaiting, Waves: []v1alpha1.WaveStatus{
		{Name: "a", Phase: v1alpha1.WavePassed}, {Name: "b", Phase: v1alpha1.WavePending}, {Name: "c", Phase: v1alpha1.WavePending},
	}}
	return s
}

func TestWordsBecomeAnnotationsOrRefusals(t *testing.T) {
	approved := func(value string) map[string]string { return map[string]string{v1alpha1.ApprovedAnnotation: value} }
	for _, c := range []struct {
		name   string
		decide func(*v1alpha1.NetworkStack, Word) (Change, error)
		word   Word
		change func(*v1alpha1.NetworkStack)
		want   map[string]string
		says   string
	}{
		{"the wave that waits", Approve, Word{}, nil, approved("r1/b"), "approved: wave b"},
		{"a wave ahead", Approve, Word{Wave: "c"}, nil, approved("r1/c"), "approved: wave c"},
		{"beside another approval", Approve, Word{}, func(s *v1alpha1.NetworkStack) { s.Annotations = approved("r0/b, r1/c") }, approved("r1/c,r1/b"), "wave b"},
		{"what is approved", Approve, Word{}, func(s *v1alpha1.NetworkStack) { s.Annotations = approved("r1/b") }, nil, "already"},
		{"a wave that needs none", Approve, Word{Wave: "a"}, nil, nil, "needs no approval"},
		{"a wave that runs", Approve, Word{}, func(s *v1alpha1.NetworkStack) { s.Status.Rollout.Waves[1].Phase = v1alpha1.WaveInProgress }, nil, "wave b is InProgress"},
		{"all have passed", Approve, Word{}, func(s *v1alpha1.NetworkStack) { s.Status.Rollout.Waves = s.Status.Rollout.Waves[:1] }, nil, "all have passed"},
		{"no wave needs approval", Approve, Word{Wave: "b"}, func(s *v1alpha1.NetworkStack) { s.Spec.Rollout.Waves = nil }, nil, "set approval: Required"},
		{"an older revision", Approve, Word{Revision: "r0"}, nil, nil, "is r1 and not r0"},
		{"an operator that is behind", Undo, Word{}, func(s *v1alpha1.NetworkStack) { s.Generation++ }, nil, "generation 8, seen 7"},
		{"no rollout", Undo, Word{}, func(s *v1alpha1.NetworkStack) { s.Status.Rollout = v1alpha1.RolloutStatus{} }, nil, "has no rollout"},
		{"undo", Undo, Word{}, nil, map[string]string{v1alpha1.UndoAnnotation: "r1/2"}, "undone"},
		{"retry of what goes on", Retry, Word{}, nil, nil, "not stopped but Waiting"},
		{"retry", Retry, Word{}, func(s *v1alpha1.NetworkStack) { s.Status.Rollout.Phase = v1alpha1.RolloutStopped }, map[string]string{v1alpha1.RetryAnnotation: "r1/2"}, "attempt 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := waits()
			if c.change != nil {
				c.change(s)
			}
			got, err := c.decide(s, c.word)
			said := got.Said
			if err != nil {
				said = err.Error()
			}
			if !maps.Equal(got.Annotations, c.want) || !strings.Contains(said, c.says) {
				t.Errorf("got %v, %q", got.Annotations, said)
			}
		})
	}
}

func TestOutcomeOf(t *testing.T) {
	for _, c := range []struct {
		phase v1alpha1.RolloutPhase
		stale bool
		over  bool
		code  int
	}{
		{v1alpha1.RolloutComplete, false, true, ExitComplete},
		{v1alpha1.RolloutComplete, true, false, ExitUnderWay},
		{v1alpha1.RolloutStopped, false, true, ExitStopped},
		{v1alpha1.RolloutRollingBack, false, false, ExitStopped},
		{v1alpha1.RolloutPaused, false, false, ExitHeld},
		{v1alpha1.RolloutWaiting, false, false, ExitHeld},
		{v1alpha1.RolloutProgressing, false, false, ExitUnderWay},
		{"", false, false, ExitUnderWay},
	} {
		got := OutcomeOf(status.Stack{Name: "x", Current: !c.stale, Rollout: v1alpha1.RolloutStatus{Phase: c.phase}})
		if got.Over != c.over || got.Code != c.code || (got.Why == "") != (c.code == ExitComplete) {
			t.Errorf("%q, stale %t: got %+v", c.phase, c.stale, got)
		}
	}
}
