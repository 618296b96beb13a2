// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"fmt"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// Notice is something that people and their tools are told of a rollout, once.
type Notice struct {
	// Reason is one of api's reasons of events at a NetworkStack.
	Reason string
	// Wave it is about, Cluster for whose sake; empty: the whole rollout.
	Wave, Cluster string

	Message string
	// Warning says that it needs somebody's attention.
	Warning bool
}

// Notices are what happened between two statuses of a rollout.
func Notices(before, after *v1alpha1.RolloutStatus) []Notice {
	var out []Notice
	fresh := before.Revision != after.Revision || before.Attempt != after.Attempt
	if fresh && after.Phase != v1alpha1.RolloutComplete {
		out = append(out, Notice{Reason: v1alpha1.ReasonRolloutStarted, Message: fmt.Sprintf("revision %s, attempt %d", after.Revision, after.Attempt)})
	}
	was := map[string]v1alpha1.WavePhase{}
	if !fresh {
		for _, w := range before.Waves {
			was[w.Name] = w.Phase
		}
	}
	for _, w := range after.Waves {
		if was[w.Name] == w.Phase || (fresh && after.Phase == v1alpha1.RolloutComplete) {
			continue
		}
		switch w.Phase {
		case v1alpha1.WaveInProgress:
			out = append(out, Notice{Reason: v1alpha1.ReasonWaveStarted, Wave: w.Name, Message: fmt.Sprintf("wave %s begins with %d clusters", w.Name, w.Clusters)})
		case v1alpha1.WavePassed:
			out = append(out, Notice{Reason: v1alpha1.ReasonWavePassed, Wave: w.Name, Message: fmt.Sprintf("wave %s has passed, %d of %d clusters proven", w.Name, w.Proven, w.Clusters)})
		case v1alpha1.WaveFailed:
			out = append(out, Notice{Reason: v1alpha1.ReasonWaveFailed, Wave: w.Name, Warning: true, Message: fmt.Sprintf("wave %s has failed", w.Name)})
		}
	}
	if !fresh && before.Phase == after.Phase {
		return out
	}
	n := Notice{Message: after.Message}
	if b := after.Breach; b != nil {
		n.Cluster = b.Cluster
	}
	switch after.Phase {
	case v1alpha1.RolloutComplete:
		n.Reason = v1alpha1.ReasonRolloutComplete
	case v1alpha1.RolloutPaused:
		n.Reason = v1alpha1.ReasonRolloutPaused
	case v1alpha1.RolloutWaiting:
		n.Reason = v1alpha1.ReasonRolloutWaiting
	case v1alpha1.RolloutRollingBack:
		n.Reason, n.Warning = v1alpha1.ReasonRollingBack, true
	case v1alpha1.RolloutStopped:
		n.Reason, n.Warning = v1alpha1.ReasonRolloutStopped, true
	default:
		return out
	}
	return append(out, n)
}
