// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"fmt"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
)

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// hasLog says whether the container has been started once.
func hasLog(pod *corev1.Pod) bool {
	for _, s := range pod.Status.ContainerStatuses {
		if s.ContainerID != "" {
			return len(pod.Spec.Containers) > 0
		}
	}
	return false
}

// waiting says what keeps a pod from running, in the words of Kubernetes, "" for nothing.
func waiting(pod *corev1.Pod) string {
	for _, s := range pod.Status.ContainerStatuses {
		switch {
		case s.State.Waiting != nil:
			if t := s.LastTerminationState.Terminated; t != nil {
				return shown("%s after %d restarts, ended with code %d: %s", s.State.Waiting.Reason, s.RestartCount, t.ExitCode, s.State.Waiting.Message)
			}
			return shown("%s: %s", s.State.Waiting.Reason, s.State.Waiting.Message)
		case s.State.Terminated != nil:
			return shown("ended with code %d: %s", s.State.Terminated.ExitCode, s.State.Terminated.Reason)
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return shown("%s: %s", c.Reason, c.Message)
		}
	}
	if pod.Status.Phase == corev1.PodFailed {
		return shown("%s: %s", pod.Status.Reason, pod.Status.Message)
	}
	return ""
}

// maxShown bounds what is told of a pod.
const maxShown = 512

// shown formats a message with what a cluster says, cut and on one line.
func shown(format string, args ...any) string {
	s := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, fmt.Sprintf(format, args...))
	s = strings.TrimSuffix(strings.TrimSpace(s), ":")
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "..."
	}
	return s
}
