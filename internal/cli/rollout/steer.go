// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// Change is what a person's word changes at a NetworkStack.
type Change struct {
	// Annotations get these values. None: there is nothing to do.
	Annotations map[string]string
	// Said tells the person what was done, or why nothing had to be.
	Said string
}

// Word is what a person says about a rollout.
type Word struct {
	// Wave is the wave that is meant; empty: the one that waits.
	Wave string
	// Revision is the one that the person has looked at; empty: whichever is the newest.
	Revision string
}

// Approve lets a wave begin that needs approval.
func Approve(s *v1alpha1.NetworkStack, word Word) (Change, error) {
	if err := current(s, word); err != nil {
		return Change{}, err
	}
	revision, approved := s.Status.Rollout.Revision, approvals(s)
	wave := word.Wave
	if wave == "" {
		var err error
		if wave, err = waiting(s, approved); err != nil {
			return Change{}, err
		}
	} else if err := approvable(s, wave); err != nil {
		return Change{}, err
	}
	if slices.Contains(approved, wave) {
		return Change{Said: fmt.Sprintf("wave %s of NetworkStack %s is approved for revision %s already", wave, s.Name, revision)}, nil
	}
	var values []string
	for _, w := range append(approved, wave) {
		values = append(values, revision+"/"+w)
	}
	return Change{
		Annotations: set(v1alpha1.ApprovedAnnotation, strings.Join(values, ",")),
		Said:        fmt.Sprintf("approved: wave %s of NetworkStack %s begins revision %s when the waves before it have passed", wave, s.Name, revision),
	}, nil
}

// Undo brings every cluster back to what was proven before the newest revision.
func Undo(s *v1alpha1.NetworkStack, word Word) (Change, error) {
	if err := current(s, word); err != nil {
		return Change{}, err
	}
	r := s.Status.Rollout
	attempt := fmt.Sprintf("%s/%d", r.Revision, r.Attempt)
	if s.Annotations[v1alpha1.UndoAnnotation] == attempt {
		return Change{Said: fmt.Sprintf("revision %s of NetworkStack %s is undone already (%s)", r.Revision, s.Name, r.Phase)}, nil
	}
	return Change{
		Annotations: set(v1alpha1.UndoAnnotation, attempt),
		Said: fmt.Sprintf("undone: clusters of NetworkStack %s go back to what was proven before revision %s; correct its spec, where it comes from, before the next change",
			s.Name, r.Revision),
	}, nil
}

// Retry has a rollout that was stopped begin anew.
func Retry(s *v1alpha1.NetworkStack, word Word) (Change, error) {
	if err := current(s, word); err != nil {
		return Change{}, err
	}
	r := s.Status.Rollout
	if r.Phase != v1alpha1.RolloutStopped {
		return Change{}, fmt.Errorf("the rollout of NetworkStack %s is not stopped but %s: only one that was stopped or undone can begin anew", s.Name, r.Phase)
	}
	return Change{
		Annotations: set(v1alpha1.RetryAnnotation, fmt.Sprintf("%s/%d", r.Revision, r.Attempt)),
		Said:        fmt.Sprintf("revision %s of NetworkStack %s begins anew (attempt %d)", r.Revision, s.Name, r.Attempt+1),
	}, nil
}

func set(annotation, value string) map[string]string { return map[string]string{annotation: value} }

// current refuses to speak of a rollout that is not the newest.
func current(s *v1alpha1.NetworkStack, word Word) error {
	r := s.Status.Rollout
	switch {
	case s.DeletionTimestamp != nil:
		return fmt.Errorf("NetworkStack %s is being deleted: there is no rollout to steer", s.Name)
	case s.Status.ObservedGeneration != s.Generation:
		return fmt.Errorf("the operator has not seen the newest change of NetworkStack %s yet (generation %d, seen %d): look at it again (`fairleadctl rollout status %s`), and say it then",
			s.Name, s.Generation, s.Status.ObservedGeneration, s.Name)
	case r.Revision == "":
		return fmt.Errorf("NetworkStack %s has no rollout (status.rollout.revision is empty): is the operator running, and is the stack accepted? `fairleadctl status %s` says", s.Name, s.Name)
	case word.Revision != "" && word.Revision != r.Revision:
		return fmt.Errorf("the newest revision of NetworkStack %s is %s and not %s: look at it (`fairleadctl rollout status %s`), and name it then", s.Name, r.Revision, word.Revision, s.Name)
	}
	return nil
}

// approvals are the waves that are approved for the newest revision.
func approvals(s *v1alpha1.NetworkStack) (out []string) {
	for _, value := range strings.Split(s.Annotations[v1alpha1.ApprovedAnnotation], ",") {
		if revision, wave, ok := strings.Cut(strings.TrimSpace(value), "/"); ok && revision == s.Status.Rollout.Revision && wave != "" {
			out = append(out, wave)
		}
	}
	return out
}

// needsApproval says whether the spec asks a person before a wave.
func needsApproval(s *v1alpha1.NetworkStack, wave string) bool {
	return slices.ContainsFunc(s.Spec.Rollout.Waves, func(w v1alpha1.WaveSpec) bool {
		return w.Name == wave && w.Approval == v1alpha1.ApprovalRequired
	})
}

// waiting is the wave that waits for approval: the first that has not passed.
func waiting(s *v1alpha1.NetworkStack, approved []string) (string, error) {
	for _, w := range s.Status.Rollout.Waves {
		switch {
		case w.Phase == v1alpha1.WavePassed:
			continue
		case w.Phase == v1alpha1.WavePending && needsApproval(s, w.Name):
			if !slices.Contains(approved, w.Name) || s.Status.Rollout.Phase == v1alpha1.RolloutWaiting {
				return w.Name, nil
			}
		}
		return "", fmt.Errorf("no wave of NetworkStack %s waits for approval: wave %s is %s, and the rollout is %s; name a later wave (--wave) to approve it ahead",
			s.Name, w.Name, w.Phase, s.Status.Rollout.Phase)
	}
	return "", fmt.Errorf("no wave of NetworkStack %s waits for approval: all have passed, and the rollout is %s", s.Name, s.Status.Rollout.Phase)
}

// approvable says why a wave cannot be approved.
func approvable(s *v1alpha1.NetworkStack, wave string) error {
	var names []string
	for _, w := range s.Spec.Rollout.Waves {
		if w.Approval == v1alpha1.ApprovalRequired {
			names = append(names, w.Name)
		}
	}
	switch {
	case needsApproval(s, wave):
		return nil
	case len(names) == 0:
		return fmt.Errorf("no wave of NetworkStack %s needs approval: set approval: Required at a wave of spec.rollout.waves first", s.Name)
	}
	return fmt.Errorf("wave %q of NetworkStack %s needs no approval, or is not there: those that do are %s", wave, s.Name, strings.Join(names, ", "))
}
