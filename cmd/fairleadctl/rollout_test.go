// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// read is a stack as the API server has it.
func (s *story) read(name string) *v1alpha1.NetworkStack {
	s.t.Helper()
	o := &v1alpha1.NetworkStack{}
	s.Expect(management.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: name}, o)).To(Succeed())
	return o
}

// deploy plays a GitOps controller: it applies what the repository says, as Flux does.
func (s *story) deploy(name string, mtu int64, rollout map[string]any) error {
	spec := map[string]any{"allClusters": true, "cni": map[string]any{"mtu": mtu}}
	if rollout != nil {
		spec["rollout"] = rollout
	}
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "NetworkStack",
		"metadata": map[string]any{"namespace": s.ns, "name": name}, "spec": spec,
	}}
	return management.Client.Apply(s.ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("kustomize-controller"), client.ForceOwnership)
}

func TestAPauseSurvivesGitOps(t *testing.T) {
	s := begin(t)
	windows := map[string]any{"maxConcurrent": 2}
	s.Expect(s.deploy("production", 1400, windows)).To(Succeed())
	s.Expect(s.read("production").Status.ObservedGeneration).To(BeEquivalentTo(-1), "kstatus takes an object without a status for current")
	got := s.says("rollout", "pause", "production")
	s.Expect(got.code).To(BeZero(), got.err)
	s.Expect(got.out).To(HavePrefix("paused: "))
	s.Expect(s.read("production").Spec.Rollout.Paused).To(BeTrue())

	// The repository is applied again and again, and changes: neither conflict nor undoing.
	for _, mtu := range []int64{1400, 1450} {
		s.Expect(s.deploy("production", mtu, windows)).To(Succeed())
	}
	s.Expect(s.deploy("production", 1450, nil)).To(Succeed())
	o := s.read("production")
	s.Expect(o.Spec.Rollout.Paused).To(BeTrue(), "a pause stays although the repository says nothing of it")
	s.Expect(o.Spec.CNI.MTU).To(BeEquivalentTo(1450))
	s.Expect(s.says("rollout", "pause", "production").code).To(BeZero(), "to pause twice is no error")

	s.Expect(s.says("rollout", "resume", "production").out).To(HavePrefix("resumed: "))
	s.Expect(s.read("production").Spec.Rollout.Paused).To(BeFalse())
	for _, m := range s.read("production").ManagedFields {
		s.Expect(m.Manager).NotTo(Equal("fairleadctl"), "the field was given back")
	}
	s.Expect(s.read("production").Spec.CNI.MTU).To(BeEquivalentTo(1450), "nothing else was")
}

func TestAPauseOfTheRepositoryIsTheRepositorys(t *testing.T) {
	s := begin(t)
	s.Expect(s.deploy("production", 1400, map[string]any{"paused": true})).To(Succeed())
	got := s.says("rollout", "resume", "production")
	s.Expect(got.code).To(Equal(1))
	s.Expect(got.err).To(And(ContainSubstring("still true"), ContainSubstring("kustomize-controller"), ContainSubstring("take it out where it comes from")))

	s.Expect(s.deploy("production", 1400, map[string]any{"paused": false})).To(Succeed())
	got = s.says("rollout", "pause", "production")
	s.Expect(got.code).To(Equal(1))
	s.Expect(got.err).To(And(ContainSubstring("belongs to somebody else"), ContainSubstring("kustomize-controller")))
}

func TestApproveLetsTheWaveBeginThatWaits(t *testing.T) {
	s := begin(t)
	stack := s.stack("production", func(o *v1alpha1.NetworkStack) {
		o.Annotations = map[string]string{v1alpha1.ApprovedAnnotation: "r0/early", "mine": "stays"}
	})
	s.Expect(s.says("rollout", "approve", "production").err).To(ContainSubstring("has not seen the newest change"))

	s.rollout(stack, underWay(v1alpha1.RolloutWaiting))
	s.Expect(s.says("rollout", "approve", "production", "--revision", "r0").err).To(ContainSubstring("the newest revision of NetworkStack production is r1 and not r0"))
	got := s.says("rollout", "approve", "production", "--revision", "r1")
	s.Expect(got.code).To(BeZero(), got.err)
	s.Expect(got.out).To(HavePrefix("approved: wave early"))
	s.Expect(s.read("production").Annotations).To(Equal(map[string]string{v1alpha1.ApprovedAnnotation: "r1/early", "mine": "stays"}))
	s.Expect(s.says("rollout", "approve", "production").out).To(ContainSubstring("approved for revision r1 already"))

	s.Expect(s.says("rollout", "approve", "production", "--wave", "canary").err).To(ContainSubstring("those that do are early"))
	next := underWay(v1alpha1.RolloutProgressing)
	next.Waves[0].Phase = v1alpha1.WaveInProgress
	s.rollout(stack, next)
	s.Expect(s.says("rollout", "approve", "production").err).To(ContainSubstring("no wave of NetworkStack production waits for approval: wave canary is InProgress"))
	s.Expect(s.says("rollout", "approve", "nothing").err).To(ContainSubstring("there is no NetworkStack nothing"))
}

func TestUndoAsksAndRetryBeginsAnew(t *testing.T) {
	s := begin(t)
	stack := s.stack("production", nil)
	s.rollout(stack, underWay(v1alpha1.RolloutProgressing))
	s.Expect(s.says("rollout", "undo", "production").err).To(ContainSubstring("say --yes if you are sure"), "there is nobody to ask")
	s.Expect(s.read("production").Annotations).NotTo(HaveKey(v1alpha1.UndoAnnotation))
	s.Expect(s.says("rollout", "retry", "production").err).To(ContainSubstring("is not stopped but Progressing"))

	s.Expect(s.says("rollout", "undo", "production", "--yes").out).To(ContainSubstring("go back to what was proven before revision r1"))
	s.Expect(s.read("production").Annotations).To(HaveKeyWithValue(v1alpha1.UndoAnnotation, "r1/1"))
	s.Expect(s.says("rollout", "undo", "production", "--yes").out).To(ContainSubstring("is undone already"))

	s.rollout(stack, underWay(v1alpha1.RolloutStopped))
	s.Expect(s.says("rollout", "retry", "production").out).To(ContainSubstring("begins anew (attempt 2)"))
	s.Expect(s.read("production").Annotations).To(HaveKeyWithValue(v1alpha1.RetryAnnotation, "r1/1"))
}

// TestApprovalsOfTwoPeopleMeet: an annotation is written on what was read, and read again
// when somebody else was faster.
func TestApprovalsOfTwoPeopleMeet(t *testing.T) {
	s := begin(t)
	waves := []string{"early", "middle", "late", "last"}
	stack := s.stack("production", func(o *v1alpha1.NetworkStack) {
		o.Spec.Rollout.Waves = nil
		for _, w := range waves {
			o.Spec.Rollout.Waves = append(o.Spec.Rollout.Waves, v1alpha1.WaveSpec{
				Name: w, Approval: v1alpha1.ApprovalRequired,
				ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{"wave": w}},
			})
		}
	})
	s.rollout(stack, underWay(v1alpha1.RolloutWaiting))
	results := make(chan said, len(waves))
	for _, w := range waves {
		go func() { results <- s.says("rollout", "approve", "production", "--wave", w) }()
	}
	for range waves {
		got := <-results
		s.Expect(got.code).To(BeZero(), got.err)
	}
	s.Expect(strings.Split(s.read("production").Annotations[v1alpha1.ApprovedAnnotation], ",")).To(
		ConsistOf("r1/early", "r1/middle", "r1/late", "r1/last"))
}

func TestRolloutStatusEndsWithACode(t *testing.T) {
	s := begin(t)
	stack := s.stack("production", nil)
	phase := func(p v1alpha1.RolloutPhase) v1alpha1.RolloutStatus {
		r := underWay(p)
		if p == v1alpha1.RolloutStopped {
			r.Message = "wave early has failed"
			r.Breach = &v1alpha1.Breach{Cluster: "bravo", Node: "worker-1", Probe: "dns", Reason: v1alpha1.ReasonProbeBreached, Message: "12 % lost, 0.5 % allowed", Time: metav1.Now()}
		}
		return r
	}
	for _, c := range []struct {
		name  string
		phase v1alpha1.RolloutPhase
		args  []string
		code  int
		want  string
	}{
		{"waiting", v1alpha1.RolloutWaiting, nil, 0, "Waiting"},
		{"stopped", v1alpha1.RolloutStopped, nil, 3, "breach: cluster bravo, node worker-1, probe dns: ProbeBreached: 12 % lost, 0.5 % allowed"},
		{"for a program", v1alpha1.RolloutStopped, []string{"-o", "json"}, 3, `"phase": "Stopped"`},
		{"waited for, complete", v1alpha1.RolloutComplete, []string{"--watch"}, 0, "Complete"},
		{"waited for, stopped", v1alpha1.RolloutStopped, []string{"--watch"}, 3, "Stopped"},
		{"waited for, paused", v1alpha1.RolloutPaused, []string{"--watch", "--timeout", "1s"}, 4, "Paused"},
		{"waited for, on its way", v1alpha1.RolloutProgressing, []string{"--watch", "--timeout", "1s"}, 5, "Progressing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.rollout(stack, phase(c.phase))
			got := s.says(append([]string{"rollout", "status", "production"}, c.args...)...)
			if got.code != c.code || !strings.Contains(got.out, c.want) {
				t.Errorf("got %+v, want code %d and %q", got, c.code, c.want)
			}
		})
	}

	// One that is complete is not over while the operator has not seen a newer spec.
	s.rollout(stack, phase(v1alpha1.RolloutComplete))
	stack.Spec.CNI.MTU = 1400
	s.Expect(management.Client.Update(s.ctx, stack)).To(Succeed())
	out, _, wait := s.follow("rollout", "status", "production", "--watch")
	s.Eventually(out.String).Should(ContainSubstring("production v0.1.0 Pending"))
	s.rollout(stack, phase(v1alpha1.RolloutComplete))
	s.Eventually(out.String).Should(ContainSubstring("production v0.1.0 Complete"))
	s.Expect(wait()).To(BeZero(), "it ends by itself")
	s.Expect(s.says("rollout", "status", "nothing", "--watch").err).To(ContainSubstring("there is no NetworkStack nothing"))
}
