// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// world is a fleet with one stack, and a reconciler of ClusterStacks for each cluster that
// does in one tick what takes a real one minutes.
type world struct {
	t        *testing.T
	stack    *v1alpha1.NetworkStack
	clusters []Cluster
	stacks   map[string]*v1alpha1.ClusterStack
	now      time.Time
	step     Step

	// bad has the versions that do not work, by cluster; "" is every cluster.
	bad map[string]string
	// gone are clusters that do not answer, stuck those that begin and never end.
	gone, stuck map[string]bool
	// installed is what clusters have when nobody knows of it, by cluster: a plan digest.
	installed map[string]string
	// requires are what versions need of clusters.
	requires map[string]Requirements
	// begins are the clusters in the order in which they began with a version.
	begins []string
}

// fleet makes a world of n clusters in each wave, and a stack of these waves.
func fleet(t *testing.T, n int, waves ...string) *world {
	w := &world{
		t: t, now: time.Unix(1_800_000_000, 0), stacks: map[string]*v1alpha1.ClusterStack{},
		bad: map[string]string{}, gone: map[string]bool{}, stuck: map[string]bool{}, installed: map[string]string{},
	}
	s := lab("lab", 0, waves...)
	s.Spec.Version = "v0.1.0"
	s.Spec.Rollout.MaxConcurrent = amount("100%")
	for _, name := range waves {
		s.Spec.Rollout.Waves = append(s.Spec.Rollout.Waves, v1alpha1.WaveSpec{
			Name: name, ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{"env": name}},
		})
		for i := range n {
			w.clusters = append(w.clusters, in(fmt.Sprintf("%s-%d", name, i), name))
		}
	}
	w.stack = &s
	return w
}

func amount(s string) *intstr.IntOrString {
	v := intstr.Parse(s)
	return &v
}

// decide runs Next once and applies what it says.
func (w *world) decide() {
	w.t.Helper()
	plan, err := Make(w.stack, nil, w.clusters, Versions{Own: "v0.1.0", Available: []string{"v0.2.0", "v0.3.0"}, Requires: w.requires})
	if err != nil {
		w.t.Fatal(err)
	}
	w.step = Next(w.stack, plan, w.stacks, w.now)
	w.stack.Status.Rollout = w.step.Status
	for _, spec := range w.step.Specs {
		cs := w.stacks[spec.ClusterName]
		if cs == nil {
			cs = &v1alpha1.ClusterStack{ObjectMeta: metav1.ObjectMeta{Name: spec.ClusterName}}
			w.stacks[spec.ClusterName] = cs
		}
		if !spec.AdoptOnly && (cs.Spec.PlanDigest != spec.PlanDigest || cs.Spec.AdoptOnly) {
			w.begins = append(w.begins, spec.ClusterName+" "+spec.Version)
		}
		spec.Pinned, spec.Override = cs.Spec.Pinned, cs.Spec.Override
		cs.Spec = spec
	}
}

// work does what the reconcilers of ClusterStacks do.
func (w *world) work() {
	for name, cs := range w.stacks {
		if w.gone[name] {
			set(cs, v1alpha1.ConditionConnected, false, v1alpha1.ReasonUnreachable)
			continue
		}
		set(cs, v1alpha1.ConditionConnected, true, v1alpha1.ReasonConnected)
		if cs.Spec.AdoptOnly && w.installed[name] != cs.Spec.PlanDigest {
			cs.Status.Releases = []v1alpha1.ReleaseStatus{{State: "Absent"}}
			if w.installed[name] != "" {
				cs.Status.Releases[0].State = "Outdated"
			}
			continue
		}
		cs.Status.Releases = []v1alpha1.ReleaseStatus{{State: "Current"}}
		cs.Status.Update = v1alpha1.UpdateStatus{PlanDigest: cs.Spec.PlanDigest}
		w.installed[name] = cs.Spec.PlanDigest
		switch {
		case w.bad[name] == cs.Spec.Version || w.bad[""] == cs.Spec.Version:
			cs.Status.Update.Breach = &v1alpha1.ProbeBreach{Node: "n1", Probe: "peers"}
			set(cs, v1alpha1.ConditionProven, false, v1alpha1.ReasonProbeBreached)
		case w.stuck[name]:
			cs.Status.Update.Phase = v1alpha1.UpdateUpdating
			set(cs, v1alpha1.ConditionProven, false, v1alpha1.ReasonUpdating)
		default:
			set(cs, v1alpha1.ConditionProven, true, v1alpha1.ReasonProven)
			cs.Status.Update.Phase = v1alpha1.UpdateProven
			prove(cs)
		}
	}
}

func prove(cs *v1alpha1.ClusterStack) {
	if p := cs.Status.Proven; p != nil && p.PlanDigest == cs.Spec.PlanDigest {
		return
	}
	cs.Status.Previous = cs.Status.Proven
	cs.Status.Proven = &v1alpha1.ProvenStatus{Version: cs.Spec.Version, PlanDigest: cs.Spec.PlanDigest, CNI: cs.Spec.CNI}
}

func set(cs *v1alpha1.ClusterStack, kind string, is bool, reason string) {
	status := metav1.ConditionFalse
	if is {
		status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(&cs.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: "message of " + reason})
}

// settle goes on until nothing moves.
func (w *world) settle() {
	w.t.Helper()
	for range 100 {
		before := Digest([]any{w.stack.Status.Rollout, w.versions()})
		w.decide()
		w.work()
		w.decide()
		if Digest([]any{w.stack.Status.Rollout, w.versions()}) == before {
			return
		}
	}
	w.t.Fatal("the rollout does not come to an end")
}

func (w *world) versions() map[string]string {
	out := map[string]string{}
	for name, cs := range w.stacks {
		out[name] = cs.Spec.Version
		if cs.Spec.AdoptOnly {
			out[name] = "none"
		}
	}
	return out
}

// upgrade sets the version and forgets in which order clusters began before.
func (w *world) upgrade(version string) {
	w.stack.Spec.Version = version
	w.begins = nil
}

func (w *world) expect(phase v1alpha1.RolloutPhase, words string) {
	w.t.Helper()
	st := w.stack.Status.Rollout
	if st.Phase != phase || !strings.Contains(st.Message, words) {
		w.t.Errorf("the rollout is %s: %q; want %s and %q", st.Phase, st.Message, phase, words)
	}
}

func (w *world) run(want string) {
	w.t.Helper()
	var got []string
	for _, name := range slices.Sorted(maps.Keys(w.versions())) {
		got = append(got, name+"="+w.versions()[name])
	}
	if d := cmp.Diff(want, strings.Join(got, " ")); d != "" {
		w.t.Errorf("clusters: %s", d)
	}
}

func (w *world) began(want ...string) {
	w.t.Helper()
	if d := cmp.Diff(want, w.begins); d != "" {
		w.t.Errorf("began: %s", d)
	}
}

func TestWavesFollowOneAnother(t *testing.T) {
	w := fleet(t, 2, "one", "two")
	w.clusters = append(w.clusters, in("other", "two-more"))
	w.stack.Spec.ClusterSelector, w.stack.Spec.AllClusters = metav1.LabelSelector{}, true
	w.settle()
	w.expect(v1alpha1.RolloutComplete, "5 of 5 clusters proven")
	w.upgrade("v0.2.0")
	w.settle()
	w.expect(v1alpha1.RolloutComplete, "5 of 5")
	w.began("one-0 v0.2.0", "one-1 v0.2.0", "two-0 v0.2.0", "two-1 v0.2.0", "other v0.2.0")
	if n := len(w.stack.Status.Rollout.Waves); n != 3 || w.stack.Status.Rollout.Waves[2].Name != RestWave {
		t.Errorf("waves: %+v", w.stack.Status.Rollout.Waves)
	}
}

func TestAWaveThatIsNotProvenHoldsTheNext(t *testing.T) {
	w := fleet(t, 2, "one", "two")
	w.settle()
	w.upgrade("v0.2.0")
	w.stuck["one-1"] = true
	w.settle()
	w.run("one-0=v0.2.0 one-1=v0.2.0 two-0=v0.1.0 two-1=v0.1.0")
	w.expect(v1alpha1.RolloutProgressing, "wave one: 1 of 2 clusters proven, 1 on their way")
	w.stuck["one-1"] = false
	w.settle()
	w.expect(v1alpha1.RolloutComplete, "4 of 4")
}

func TestABreachStopsTheRolloutAndBringsTheWholeWaveBack(t *testing.T) {
	w := fleet(t, 2, "one", "two", "three")
	w.settle()
	w.upgrade("v0.2.0")
	w.bad["two-1"] = "v0.2.0"
	w.settle()
	w.run("one-0=v0.2.0 one-1=v0.2.0 three-0=v0.1.0 three-1=v0.1.0 two-0=v0.1.0 two-1=v0.1.0")
	w.expect(v1alpha1.RolloutStopped, "cluster two-1 of wave two: message of ProbeBreached")
	if b := w.stack.Status.Rollout.Breach; b.Node != "n1" || b.Probe != "peers" {
		t.Errorf("breach: %+v", b)
	}
	// Nothing begins by itself, whatever else happens.
	w.clusters = append(w.clusters, in("one-2", "one"))
	w.bad = map[string]string{}
	w.settle()
	w.expect(v1alpha1.RolloutStopped, "retry")
	if w.versions()["one-2"] != "none" {
		t.Error("a stopped rollout was given to another cluster")
	}
	// A retry goes through.
	w.stack.Annotations = map[string]string{v1alpha1.RetryAnnotation: w.stack.Status.Rollout.Revision + "/1"}
	w.settle()
	w.expect(v1alpha1.RolloutComplete, "7 of 7")
	if w.stack.Status.Rollout.Attempt != 2 {
		t.Errorf("attempt %d", w.stack.Status.Rollout.Attempt)
	}
}

// What was proven before the way out is not proven again by the order to go back.
func TestAClusterIsBackWhenItIsProvenToBe(t *testing.T) {
	w := fleet(t, 1, "one", "two")
	w.settle()
	w.upgrade("v0.2.0")
	w.bad["one-0"] = "v0.2.0"
	w.decide()
	w.work()
	w.stuck["one-0"] = true
	w.settle()
	w.run("one-0=v0.1.0 two-0=v0.1.0")
	w.expect(v1alpha1.RolloutRollingBack, "clusters are brought back")
	w.stuck["one-0"] = false
	w.settle()
	w.expect(v1alpha1.RolloutStopped, "message of ProbeBreached")
}

func TestAnotherVersionFollowsAStoppedOne(t *testing.T) {
	w := fleet(t, 1, "one", "two")
	w.settle()
	w.upgrade("v0.2.0")
	w.bad[""] = "v0.2.0"
	w.settle()
	w.run("one-0=v0.1.0 two-0=v0.1.0")
	w.upgrade("v0.3.0")
	w.settle()
	w.run("one-0=v0.3.0 two-0=v0.3.0")
	w.expect(v1alpha1.RolloutComplete, "2 of 2")
}

func TestWithoutRollbackClustersStayWhereTheyAre(t *testing.T) {
	w := fleet(t, 1, "one", "two")
	no := false
	w.stack.Spec.Rollout.AutoRollback = &no
	w.settle()
	w.upgrade("v0.2.0")
	w.bad[""] = "v0.2.0"
	w.settle()
	w.run("one-0=v0.2.0 two-0=v0.1.0")
	w.expect(v1alpha1.RolloutStopped, "message of ProbeBreached")
}

func TestUndoBringsEveryClusterBack(t *testing.T) {
	w := fleet(t, 1, "one", "two")
	w.settle()
	w.upgrade("v0.2.0")
	w.settle()
	w.expect(v1alpha1.RolloutComplete, "")
	w.stack.Annotations = map[string]string{v1alpha1.UndoAnnotation: w.stack.Status.Rollout.Revision + "/1"}
	w.settle()
	w.run("one-0=v0.1.0 two-0=v0.1.0")
	w.expect(v1alpha1.RolloutStopped, "a person undid the rollout")
	w.upgrade("v0.3.0")
	w.settle()
	w.run("one-0=v0.3.0 two-0=v0.3.0")
}

func TestCanariesGoFirstAndFewAtATime(t *testing.T) {
	w := fleet(t, 5, "one")
	w.stack.Spec.Rollout.Waves[0].Canaries = amount("1")
	w.stack.Spec.Rollout.Waves[0].MaxConcurrent = amount("40%")
	w.settle()
	w.upgrade("v0.2.0")
	w.decide()
	w.began("one-0 v0.2.0")
	w.work()
	w.decide()
	w.began("one-0 v0.2.0", "one-1 v0.2.0", "one-2 v0.2.0")
	w.settle()
	w.expect(v1alpha1.RolloutComplete, "5 of 5")
}

func TestAWaveWaitsForApproval(t *testing.T) {
	w := fleet(t, 1, "one", "two")
	w.settle()
	w.stack.Spec.Rollout.Waves[1].Approval = v1alpha1.ApprovalRequired
	w.upgrade("v0.2.0")
	w.settle()
	w.run("one-0=v0.2.0 two-0=v0.1.0")
	w.expect(v1alpha1.RolloutWaiting, "fairleadctl rollout approve lab -n ns --wave two")
	w.stack.Annotations = map[string]string{v1alpha1.ApprovedAnnotation: "anotherrevision/two"}
	w.settle()
	w.run("one-0=v0.2.0 two-0=v0.1.0")
	w.stack.Annotations[v1alpha1.ApprovedAnnotation] += ", " + w.stack.Status.Rollout.Revision + "/two"
	w.settle()
	w.run("one-0=v0.2.0 two-0=v0.2.0")
}

func TestPausedBeginsNothing(t *testing.T) {
	w := fleet(t, 1, "one", "two")
	w.settle()
	w.stack.Spec.Rollout.Paused = true
	w.upgrade("v0.2.0")
	w.settle()
	w.run("one-0=v0.1.0 two-0=v0.1.0")
	w.expect(v1alpha1.RolloutPaused, "no further cluster begins")
	w.stack.Spec.Rollout.Paused = false
	w.settle()
	w.expect(v1alpha1.RolloutComplete, "2 of 2")
}

func TestAClusterThatIsBeingConnectedToIsNotAway(t *testing.T) {
	w := fleet(t, 2, "one", "two")
	w.settle()
	w.stuck["one-1"] = true
	w.stack.Spec.Rollout.Waves[0].MaxAway = amount("100%")
	w.upgrade("v0.2.0")
	w.settle()
	w.run("one-0=v0.2.0 one-1=v0.2.0 two-0=v0.1.0 two-1=v0.1.0")
	// An operator that has just started connects to every cluster.
	for _, cs := range w.stacks {
		set(cs, v1alpha1.ConditionConnected, false, v1alpha1.ReasonConnecting)
	}
	w.decide()
	w.run("one-0=v0.2.0 one-1=v0.2.0 two-0=v0.1.0 two-1=v0.1.0")
	w.expect(v1alpha1.RolloutProgressing, "1 on their way")
}

func TestAClusterThatIsAwayHoldsNobodyBeyondTheBudget(t *testing.T) {
	w := fleet(t, 2, "one", "two")
	w.settle()
	w.gone["one-1"] = true
	w.work()
	w.upgrade("v0.2.0")
	w.settle()
	w.run("one-0=v0.2.0 one-1=v0.1.0 two-0=v0.1.0 two-1=v0.1.0")
	w.expect(v1alpha1.RolloutWaiting, "waits for clusters that are away (1, and maxAway allows 0): one-1")
	w.stack.Spec.Rollout.Waves[0].MaxAway = amount("50%")
	w.settle()
	w.run("one-0=v0.2.0 one-1=v0.1.0 two-0=v0.2.0 two-1=v0.2.0")
	w.expect(v1alpha1.RolloutComplete, "3 of 4 clusters proven")
	w.gone["one-1"] = false
	w.settle()
	w.expect(v1alpha1.RolloutComplete, "4 of 4")
}

func TestAPinnedClusterIsPassedBy(t *testing.T) {
	w := fleet(t, 2, "one")
	w.settle()
	w.stacks["one-0"].Spec.Pinned = true
	w.upgrade("v0.2.0")
	w.settle()
	w.run("one-0=v0.1.0 one-1=v0.2.0")
	w.expect(v1alpha1.RolloutComplete, "1 of 2")
	w.stacks["one-0"].Spec.Pinned = false
	w.settle()
	w.expect(v1alpha1.RolloutComplete, "2 of 2")
}

func TestWhatIsInstalledIsAdopted(t *testing.T) {
	w := fleet(t, 2, "one", "two")
	w.settle()
	w.upgrade("v0.2.0")
	w.stuck["one-0"] = true
	w.decide()
	// The management cluster is lost, with all it knew, and the stack applied anew.
	w.stack.Status = v1alpha1.NetworkStackStatus{}
	w.stacks = map[string]*v1alpha1.ClusterStack{}
	w.upgrade("v0.1.0")
	w.stuck["one-0"] = false
	w.settle()
	w.expect(v1alpha1.RolloutComplete, "4 of 4")
}

// A fleet that is new is installed wave by wave; a cluster that comes later gets its network
// at once, outside of windows too.
func TestAClusterThatComesLaterIsNotKeptWaiting(t *testing.T) {
	w := fleet(t, 1, "one", "two")
	w.settle()
	w.began("one-0 v0.1.0", "two-0 v0.1.0")
	w.stack.Spec.Rollout.Windows = []v1alpha1.ChangeWindow{{NotBefore: &metav1.Time{Time: w.now.Add(24 * time.Hour)}}}
	w.clusters = append(w.clusters, in("one-1", "one"))
	w.settle()
	w.run("one-0=v0.1.0 one-1=v0.1.0 two-0=v0.1.0")
	w.upgrade("v0.2.0")
	w.settle()
	w.began()
	w.expect(v1alpha1.RolloutWaiting, "the next window opens at")
	if !w.step.Again.Equal(w.now.Add(24 * time.Hour)) {
		t.Errorf("looks again at %s", w.step.Again)
	}
	w.now = w.step.Again
	w.settle()
	w.expect(v1alpha1.RolloutComplete, "3 of 3")
	w.upgrade("v0.3.0")
	w.stack.Spec.Rollout.Windows[0] = v1alpha1.ChangeWindow{NotAfter: &metav1.Time{Time: w.now.Add(-time.Hour)}}
	w.settle()
	w.expect(v1alpha1.RolloutWaiting, "no window of spec.rollout.windows opens any more")
}

// Whatever happens in whatever order, and whoever goes on with it: no cluster of a wave
// begins before the wave before has passed, no more than may are on their way, and what is
// bad never gets past the wave that showed it.
func TestNoOrderOfEventsBreaksTheRules(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 6))
			w := fleet(t, 4, "one", "two", "three")
			w.stack.Spec.Rollout.MaxConcurrent = amount("2")
			w.stack.Spec.Rollout.MaxAway = amount("25%")
			w.settle()
			w.upgrade("v0.2.0")
			worst := ""
			if random.IntN(2) == 0 {
				worst = w.clusters[random.IntN(len(w.clusters))].Name
				w.bad[worst] = "v0.2.0"
			}
			for range 200 {
				name := w.clusters[random.IntN(len(w.clusters))].Name
				switch random.IntN(6) {
				case 0:
					w.gone[name] = random.IntN(3) == 0
				case 1:
					w.stuck[name] = random.IntN(2) == 0
				case 2:
					w.work()
				default:
					w.decide()
				}
				w.obeys()
			}
			clear(w.gone)
			clear(w.stuck)
			w.settle()
			w.obeys()
			if worst == "" {
				w.expect(v1alpha1.RolloutComplete, "12 of 12")
				return
			}
			w.expect(v1alpha1.RolloutStopped, worst)
			if w.versions()[worst] != "v0.1.0" {
				t.Error("what is bad was left on the cluster that showed it")
			}
		})
	}
}

// obeys checks the rules of the moment.
func (w *world) obeys() {
	w.t.Helper()
	st := w.stack.Status.Rollout
	passed := true
	for _, wave := range st.Waves {
		moving, begun := 0, 0
		for name, cs := range w.stacks {
			if cs.Spec.Wave != wave.Name || cs.Spec.Version != "v0.2.0" {
				continue
			}
			begun++
			if !w.gone[name] && (cs.Status.Proven == nil || cs.Status.Proven.Version != "v0.2.0") {
				moving++
			}
		}
		if begun > 0 && !passed {
			w.t.Errorf("%d clusters of wave %s have begun before the wave before has passed", begun, wave.Name)
		}
		if limit := 2 + len(w.gone); moving > limit {
			w.t.Errorf("%d clusters of wave %s are on their way", moving, wave.Name)
		}
		passed = passed && wave.Phase == v1alpha1.WavePassed
	}
}
