// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// TestASurgeIsInForceAtOnceAndReplacesNoAgent: it is no change of what the cluster runs.
func TestASurgeIsInForceAtOnceAndReplacesNoAgent(t *testing.T) {
	s := begin(t)
	s.running()
	before, err := work.Agents(s.ctx)
	s.Expect(err).NotTo(HaveOccurred())
	one := intstr.FromInt32(1)
	s.reconfigure(func(spec *v1alpha1.ClusterStackSpec) { spec.Agents.MaxSurge = &one })
	after := before
	s.Eventually(func() (string, error) {
		if after, err = work.Agents(s.ctx); err != nil {
			return "", err
		}
		u := after.Spec.UpdateStrategy.RollingUpdate
		return fmt.Sprintf("surge %s, unavailable %s", u.MaxSurge, u.MaxUnavailable), nil
	}).Should(Equal("surge 1, unavailable 0"))
	s.Expect(after.Spec.Template).To(Equal(before.Spec.Template))
	s.runAgents(2)
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("True/"))
	s.Expect(s.get().Status.Update.Phase).To(Equal(v1alpha1.UpdateProven))
}

// TestAnAgentThatDoesNotTakeOverIsABreach: with a surge nobody but the operator notices, and
// what it takes for one must not be an agent that only begins.
func TestAnAgentThatDoesNotTakeOverIsABreach(t *testing.T) {
	const image = "fairlead.io/fairlead:" + carried
	began := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	at := func(seconds int) metav1.Time { return metav1.NewTime(began.Add(time.Duration(seconds) * time.Second)) }
	// agent is a pod that was made at second 10, whose container has run since second 12, and
	// that is not ready since second 40, when it took over.
	agent := func(change func(*corev1.Pod)) corev1.Pod {
		p := corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "new", CreationTimestamp: at(10)},
			Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: agentContainer, Image: image}}},
			Status: corev1.PodStatus{
				Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: at(40)}},
				ContainerStatuses: []corev1.ContainerStatus{{
					Name: agentContainer, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at(12)}},
				}},
			},
		}
		change(&p)
		return p
	}
	as := func(p *corev1.Pod) {}
	former := func(p *corev1.Pod) {
		p.Name, p.CreationTimestamp, p.Status.Conditions[0].Status = "old", at(-100), corev1.ConditionTrue
	}
	for name, c := range map[string]struct {
		pods  []corev1.Pod
		scope func(*scope)
		want  string // in the message; "" for no breach
	}{
		"it took over and is not ready": {pods: []corev1.Pod{agent(as)}, want: "node n1 stood by, and does not serve in the former one's place: it is not ready since 2026-01-01T12:00:40Z"},
		"it ended, and is started again": {pods: []corev1.Pod{agent(func(p *corev1.Pod) {
			c := &p.Status.ContainerStatuses[0]
			c.RestartCount, c.State = 1, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
			c.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Message: "the table is full"}
		})}, want: "(exit code 1: the table is full)"},
		"the former one is about to end": {pods: []corev1.Pod{agent(as), agent(func(p *corev1.Pod) {
			former(p)
			p.DeletionTimestamp = &metav1.Time{Time: began}
		})}, want: "node n1 stood by"},
		"the former one serves": {pods: []corev1.Pod{agent(as), agent(former)}},
		"it is ready":           {pods: []corev1.Pod{agent(func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionTrue })}},
		"it has not been ready yet": {pods: []corev1.Pod{agent(func(p *corev1.Pod) {
			p.Status.Conditions[0].LastTransitionTime = at(10)
		})}},
		"its container is made": {pods: []corev1.Pod{agent(func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
		})}},
		"another image":             {pods: []corev1.Pod{agent(func(p *corev1.Pod) { p.Spec.Containers[0].Image = "other" })}},
		"it is of before":           {pods: []corev1.Pod{agent(func(p *corev1.Pod) { p.CreationTimestamp = at(-100) })}},
		"the node is down":          {pods: []corev1.Pod{agent(as)}, scope: func(s *scope) { s.nodes[0].Status.Conditions = nil }},
		"the node has just come":    {pods: []corev1.Pod{agent(as)}, scope: func(s *scope) { s.rollout.served = nil }},
		"nothing is known of a pod": {pods: []corev1.Pod{agent(func(p *corev1.Pod) { p.Status = corev1.PodStatus{} })}},
	} {
		t.Run(name, func(t *testing.T) {
			start := at(0)
			s := &scope{cs: &v1alpha1.ClusterStack{}, rollout: verdict{served: map[string]bool{"n1": true}}, nodes: []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}}}
			s.nodes[0].Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
			s.cs.Spec.Version, s.cs.Status.Update.StartedAt = carried, &start
			if c.scope != nil {
				c.scope(s)
			}
			v := s.failedToTakeOver(c.pods, image)
			switch {
			case v == nil && c.want == "":
			case v == nil || c.want == "":
				t.Errorf("got %+v", v)
			case v.Reason != v1alpha1.ReasonAgentFailing || v.Node != "n1" || !strings.Contains(v.Message, c.want):
				t.Errorf("got %+v", v)
			}
		})
	}
}
