// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/gate"
	"github.com/fairlead-io/fairlead/internal/stack"
)

const (
	// agentsStartWithin is how long new agents get before it is asked how they do.
	agentsStartWithin = 5 * time.Second
	// agentsEvery is the time between two such questions.
	agentsEvery = 5 * time.Second
	// endsThatCount is how often a new agent must have ended to count as failing.
	endsThatCount = 2
)

// hopeless are the reasons of a container that waits for something that does not come by
// itself.
var hopeless = []string{"CrashLoopBackOff", "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"}

// failingAgent looks for a node whose new agent does not come up, nil for none. Nobody
// tells of it: the DaemonSet waits at that node, for ever.
func (r *Reconciler) failingAgent(ctx context.Context, s *scope) (*gate.Verdict, error) {
	if at := s.cs.Status.Update.StartedAt.Add(agentsStartWithin); r.Now().Before(at) {
		s.lookAgain(at.Sub(r.Now()))
		return nil, nil
	}
	s.lookAgain(agentsEvery)
	var pods corev1.PodList
	err := s.conn.Live.List(ctx, &pods, client.InNamespace(Namespace),
		client.MatchingLabels{"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": "agent"})
	if err != nil {
		return nil, fmt.Errorf("listing the cluster's agents: %w", err)
	}
	image := r.image(s)
	for i := range pods.Items {
		p := &pods.Items[i]
		for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			w := c.State.Waiting
			if w == nil || !slices.Contains(hopeless, w.Reason) || imageOf(p, c.Name) != image ||
				(w.Reason == "CrashLoopBackOff" && c.RestartCount < endsThatCount) {
				continue
			}
			return &gate.Verdict{Reason: v1alpha1.ReasonAgentFailing, Node: p.Spec.NodeName,
				Message: fmt.Sprintf("the agent of %s on node %s does not come up: %s after %d restarts%s",
					s.cs.Spec.Version, p.Spec.NodeName, w.Reason, c.RestartCount, lastWords(&c))}, nil
		}
	}
	if stack.Surges(s.cs.Spec.Agents) {
		return s.failedToTakeOver(pods.Items, image), nil
	}
	return nil, nil
}

// failedToTakeOver looks for a node that was served, and is not since an agent of an image has
// come after the former one; nil for none. A DaemonSet with a surge does not wait for such a
// node: it counts the nodes that have two agents, and goes on.
func (s *scope) failedToTakeOver(pods []corev1.Pod, image string) *gate.Verdict {
	agents := map[string]int{}
	for i := range pods {
		if pods[i].DeletionTimestamp == nil {
			agents[pods[i].Spec.NodeName]++
		}
	}
	up := map[string]bool{}
	for i := range s.nodes {
		up[s.nodes[i].Name] = isReady(&s.nodes[i])
	}
	for i := range pods {
		p := &pods[i]
		node := p.Spec.NodeName
		// A node that has just joined, or is back, has an agent that is not ready for a while; one
		// of before the change may be why there is a change.
		if p.DeletionTimestamp != nil || agents[node] != 1 || !up[node] || !s.rollout.served[node] ||
			imageOf(p, agentContainer) != image || p.CreationTimestamp.Before(s.cs.Status.Update.StartedAt) {
			continue
		}
		if since, words := lostReadiness(p); !since.IsZero() {
			return &gate.Verdict{Reason: v1alpha1.ReasonAgentFailing, Node: node,
				Message: fmt.Sprintf("the agent of %s on node %s stood by, and does not serve in the former one's place: it is not ready since %s%s",
					s.cs.Spec.Version, node, since.UTC().Format(time.RFC3339), words)}
		}
	}
	return nil
}

// agentContainer is the name of the agents' container.
const agentContainer = "agent"

// lostReadiness says since when a pod is not ready that was, and how its agent ended last;
// zero for one that is ready, or has not been yet.
func lostReadiness(p *corev1.Pod) (since time.Time, words string) {
	ready := slices.IndexFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady })
	status := slices.IndexFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.Name == agentContainer })
	if ready < 0 || status < 0 || p.Status.Conditions[ready].Status == corev1.ConditionTrue {
		return time.Time{}, ""
	}
	c := &p.Status.ContainerStatuses[status]
	at := p.Status.Conditions[ready].LastTransitionTime.Time
	// The condition is false from before the container's first start until it is ready.
	if c.RestartCount == 0 && (c.State.Running == nil || !at.After(c.State.Running.StartedAt.Time)) {
		return time.Time{}, ""
	}
	return at, lastWords(c)
}

// imageOf is the image that a pod's container was made with.
func imageOf(p *corev1.Pod, container string) string {
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		if c.Name == container {
			return c.Image
		}
	}
	return ""
}

// maxLastWords bounds what of a container's last words is shown.
const maxLastWords = 256

// lastWords says how a container ended last.
func lastWords(c *corev1.ContainerStatus) string {
	t := c.LastTerminationState.Terminated
	if t == nil {
		return ""
	}
	message := t.Message
	if len(message) > maxLastWords {
		message = message[len(message)-maxLastWords:]
	}
	if message != "" {
		message = ": " + message
	}
	return fmt.Sprintf(" (exit code %d%s)", t.ExitCode, message)
}
