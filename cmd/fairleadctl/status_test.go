// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/cli/hub"
	"github.com/fairlead-io/fairlead/internal/cli/status"
)

func TestStatusShowsTheFleet(t *testing.T) {
	s := begin(t)
	stack := s.stack("production", nil)
	s.rollout(stack, underWay(v1alpha1.RolloutWaiting))
	s.clusterStack("production", "alpha", "canary", metav1.ConditionTrue)
	s.clusterStack("production", "bravo", "early", metav1.ConditionFalse)
	s.stack("other", nil)
	s.clusterStack("other", "charlie", "", metav1.ConditionTrue)

	got := s.says("status")
	s.Expect(got.code).To(BeZero(), got.err)
	s.Expect(got.out).To(ContainSubstring(s.ns + "/production  v0.1.0  Waiting  [######--------------] 1/3 clusters proven, begun 4m"))
	s.Expect(got.out).To(ContainSubstring(s.ns + "/other  -  Pending"))
	s.Expect(got.out).To(MatchRegexp(`canary +Passed +1 +1 +0 +0 +0 +0 +0`))
	s.Expect(got.out).To(ContainSubstring("1 of 3 clusters are not Ready"))
	s.Expect(got.out).To(MatchRegexp(`bravo +production +early +NodesNotReady +node worker-1 has not`))
	s.Expect(got.out).NotTo(ContainSubstring("alpha"), "it is Ready")

	all := s.says("status", "production", "--all")
	s.Expect(all.out).To(MatchRegexp(`alpha +production +canary +v0.1.0 +v0.1.0 +3/3 +Proven +true`))
	s.Expect(all.out).NotTo(Or(ContainSubstring("charlie"), ContainSubstring("other")), "another stack's")

	var fleet status.Fleet
	s.Expect(json.Unmarshal([]byte(s.says("status", "production", "--only", "bravo", "-o", "json").out), &fleet)).To(Succeed())
	s.Expect(fleet.Clusters).To(HaveLen(1))
	s.Expect(fleet.Stacks[0].Rollout.Waves).To(HaveLen(2))
	s.Expect(s.says("status", "-A", "-o", "yaml").out).To(ContainSubstring("namespace: " + s.ns))

	// What was true of the former spec is not said of the new one.
	stack.Spec.CNI.MTU = 1400
	s.Expect(management.Client.Update(s.ctx, stack)).To(Succeed())
	s.Expect(s.says("status", "production").out).To(ContainSubstring("has not seen the newest change"))
}

func TestStatusSaysWhatIsMissing(t *testing.T) {
	s := begin(t)
	s.stack("production", nil)
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no such stack", []string{"status", "staging"}, "there is no NetworkStack staging in namespace " + s.ns},
		{"no such cluster", []string{"status", "--only", "alpha"}, "there is no ClusterStack alpha"},
		{"an output that is not known", []string{"status", "-o", "xml"}, `--output is "xml", want json, yaml or nothing`},
		{"a watch for programs", []string{"status", "-w", "-o", "json"}, "exclude each other"},
		{"no server", []string{"status", "--server", "https://127.0.0.1:1"}, "does not answer"},
		{"no such context", []string{"status", "--context", "nowhere"}, "nowhere"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := s.says(c.args...)
			if got.code != 1 || !strings.Contains(got.err, c.want) || got.out != "" {
				t.Errorf("got %+v, want %q", got, c.want)
			}
		})
	}
}

// shared is a writer that a test reads while it is written to.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *shared) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *shared) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// follow runs a command that goes on until stop is called, or by itself until wait returns;
// both return its exit code.
func (s *story) follow(args ...string) (out *shared, stop, wait func() int) {
	ctx, cancel := context.WithCancel(s.ctx)
	out = &shared{}
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"--kubeconfig", kubeconfig, "--namespace", s.ns}, args...), strings.NewReader(""), out, io.Discard)
	}()
	wait = sync.OnceValue(func() int { return <-code })
	stop = func() int { cancel(); return wait() }
	s.t.Cleanup(func() { stop() })
	return out, stop, wait
}

func TestStatusWatchTellsWhatChanges(t *testing.T) {
	s := begin(t)
	stack := s.stack("production", nil)
	s.rollout(stack, underWay(v1alpha1.RolloutWaiting))
	s.clusterStack("production", "alpha", "canary", metav1.ConditionTrue)
	out, stop, _ := s.follow("status", "--watch")
	s.Eventually(out.String).Should(ContainSubstring("production v0.1.0 Waiting, 1/3 clusters proven"))
	s.Expect(out.String()).NotTo(ContainSubstring("alpha"), "it is Ready from the start")

	next := underWay(v1alpha1.RolloutProgressing)
	next.Waves[1].Phase = v1alpha1.WaveInProgress
	s.rollout(stack, next)
	s.Eventually(out.String).Should(And(ContainSubstring("production v0.1.0 Progressing"), ContainSubstring("wave early InProgress, 0/2 clusters proven")))
	bravo := s.clusterStack("production", "bravo", "early", metav1.ConditionFalse)
	s.Eventually(out.String).Should(ContainSubstring("bravo v0.1.0 Proven: NodesNotReady: node worker-1"))
	s.Expect(management.Client.Delete(s.ctx, bravo)).To(Succeed())
	s.Eventually(out.String).Should(ContainSubstring("bravo has left production"))
	s.Expect(stop()).To(BeZero(), "a person who ends a watch has not failed")
}

func TestStatusRedrawsOnATerminal(t *testing.T) {
	var out bytes.Buffer
	o := &statusOptions{options: &options{}}
	show := o.redraw(&out, hub.Query{})
	if err := show(status.Fleet{Stacks: []status.Stack{{Namespace: "fleet", Name: "production", Current: true}}}); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), clearScreen+"fleet/production") {
		t.Errorf("got %q", out.String())
	}
}

func TestCompletionKnowsTheFleet(t *testing.T) {
	s := begin(t)
	s.rollout(s.stack("production", nil), underWay(v1alpha1.RolloutWaiting))
	s.clusterStack("production", "alpha", "canary", metav1.ConditionTrue)
	for _, c := range []struct {
		name string
		line []string
		want []string
	}{
		{"a stack of status", []string{"status", ""}, []string{"production\tv0.1.0 Waiting"}},
		{"a stack of a rollout", []string{"rollout", "approve", "pro"}, []string{"production\t"}},
		{"its waves", []string{"rollout", "approve", "production", "--wave", ""}, []string{"canary\tPassed", "early\tPending"}},
		{"its clusters", []string{"status", "production", "--only", ""}, []string{"alpha\tproduction"}},
		{"nothing for a second stack", []string{"status", "production", ""}, []string{":4"}},
		{"formats", []string{"status", "-o", ""}, []string{"json", "yaml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := s.says(append([]string{"__complete"}, c.line...)...)
			for _, want := range c.want {
				if !strings.Contains(got.out, want) {
					t.Errorf("the answer lacks %q:\n%s%s", want, got.out, got.err)
				}
			}
		})
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if got := s.says("completion", shell); got.code != 0 || !strings.Contains(got.out, "fairleadctl") {
			t.Errorf("completion %s: %+v", shell, got.err)
		}
	}
	// Without an API server completion has nothing to say, and does not hang.
	got := s.says("--server", "https://127.0.0.1:1", "__complete", "status", "")
	s.Expect(got.out).NotTo(ContainSubstring("production"), fmt.Sprint(got))
}
