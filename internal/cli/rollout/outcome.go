// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/cli/status"
)

// Exit codes of `fairleadctl rollout status`. 1 is that of every error.
const (
	// ExitComplete says that every wave has passed.
	ExitComplete = 0
	// ExitStopped says that a gate was breached, or a person undid the rollout.
	ExitStopped = 3
	// ExitHeld says that the time was over while the rollout was paused or waiting.
	ExitHeld = 4
	// ExitUnderWay says that the time was over while clusters were on their way.
	ExitUnderWay = 5
)

// Outcome is what a rollout's status means for who waits for it.
type Outcome struct {
	// Over says that it will not go on by itself.
	Over bool
	// Code is the exit code, now or when the time is over.
	Code int
	// Why is empty when the rollout is complete.
	Why string
}

// OutcomeOf reads a stack's status. One that the operator has not seen yet is under way,
// whatever the status says of the change before.
func OutcomeOf(s status.Stack) Outcome {
	if !s.Current {
		return Outcome{Code: ExitUnderWay, Why: fmt.Sprintf("the operator has not seen the newest change of NetworkStack %s yet", s.Name)}
	}
	why := fmt.Sprintf("the rollout of NetworkStack %s is %s", s.Name, s.Phase())
	if s.Rollout.Message != "" {
		why += ": " + s.Rollout.Message
	}
	switch s.Rollout.Phase {
	case v1alpha1.RolloutComplete:
		return Outcome{Over: true, Code: ExitComplete}
	case v1alpha1.RolloutStopped:
		return Outcome{Over: true, Code: ExitStopped, Why: why + fmt.Sprintf("; change its spec, or begin anew by `fairleadctl rollout retry %s`", s.Name)}
	case v1alpha1.RolloutRollingBack:
		return Outcome{Code: ExitStopped, Why: why}
	case v1alpha1.RolloutPaused, v1alpha1.RolloutWaiting:
		return Outcome{Code: ExitHeld, Why: why}
	}
	return Outcome{Code: ExitUnderWay, Why: why}
}
