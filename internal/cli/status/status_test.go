// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

func fleet() Fleet {
	f := Fleet{Stacks: []Stack{{
		Namespace: "fleet", Name: "production", Version: "v0.1.1", Current: true,
		Rollout: v1alpha1.RolloutStatus{Phase: v1alpha1.RolloutProgressing, Waves: []v1alpha1.WaveStatus{
			{Name: "zulu", Phase: v1alpha1.WavePassed, Clusters: 2, Proven: 2}, {Name: "alfa", Phase: v1alpha1.WaveInProgress, Clusters: 2, Updating: 2},
		}},
	}}}
	for _, c := range []Cluster{{Name: "d", Wave: "alfa"}, {Name: "b", Wave: "zulu", Ready: true}, {Name: "c", Wave: "alfa", Ready: true}, {Name: "a", Wave: "zulu", Ready: true}} {
		c.Namespace, c.Stack, c.Version = "fleet", "production", "v0.1.1"
		f.Clusters = append(f.Clusters, c)
	}
	f.Sort()
	return f
}

func TestClustersAreInTheOrderOfWaves(t *testing.T) {
	var got []string
	for _, c := range fleet().Clusters {
		got = append(got, c.Name)
	}
	if strings.Join(got, "") != "abcd" {
		t.Errorf("got %v", got)
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		name     string
		done, of int32
		want     int
	}{
		{"nothing of nothing", 0, 0, 0}, {"nothing", 0, 1000, 0}, {"hardly anything", 1, 1000, 1}, {"all but one", 999, 1000, barWidth - 1}, {"all", 1000, 1000, barWidth},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Bar(c.done, c.of); strings.Count(got, "#") != c.want || len(got) != barWidth+2 {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestPrintIsBounded(t *testing.T) {
	f := fleet()
	f.Clusters = nil
	for i := range 1000 {
		f.Clusters = append(f.Clusters, Cluster{Namespace: "fleet", Name: fmt.Sprint(i), Reason: "Unreachable", Message: strings.Repeat("very long\n", 1000)})
	}
	var b strings.Builder
	if err := Print(&b, f, Options{Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); len(got) > 4096 || !strings.Contains(got, "and 990 more; --all lists every cluster") {
		t.Errorf("%d bytes:\n%.4096s", len(got), got)
	}
}

func TestPrintSaysWhatMatters(t *testing.T) {
	begun := metav1.NewTime(time.Unix(1000, 0))
	for _, c := range []struct {
		name   string
		change func(*Fleet)
		want   string
	}{
		{"no stack", func(f *Fleet) { f.Stacks = nil }, "There is no NetworkStack here"},
		{"all is well", func(f *Fleet) { f.Clusters = f.Clusters[:3] }, "All of 3 clusters are Ready."},
		{"the age", func(f *Fleet) { f.Stacks[0].Rollout.StartedAt = &begun }, "begun 60s ago"},
		{"the end", func(f *Fleet) { f.Stacks[0].Rollout.FinishedAt = &begun }, "ended 60s ago"},
		{"a message", func(f *Fleet) { f.Stacks[0].Rollout.Message = "waits for Monday" }, "  waits for Monday\n"},
		{"why a stack is not Ready", func(f *Fleet) { f.Stacks[0].Reason, f.Stacks[0].Message = "InvalidSelector", "correct it" }, "InvalidSelector: correct it"},
		{"a removal", func(f *Fleet) { f.Stacks[0].Deleting = true }, "Uninstalling"},
		{"an operator that is behind", func(f *Fleet) { f.Stacks[0].Current = false }, "Pending"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := fleet()
			c.change(&f)
			var b strings.Builder
			if err := Print(&b, f, Options{Now: time.Unix(1060, 0)}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(b.String(), c.want) {
				t.Errorf("the text lacks %q:\n%s", c.want, b.String())
			}
		})
	}
}

func TestNewsIsWhatAPersonWouldActOn(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Fleet)
		want   string
	}{
		{"nothing", func(*Fleet) {}, ""},
		{"counts alone", func(f *Fleet) { f.Stacks[0].Rollout.Waves[1].Updating-- }, ""},
		{"a phase", func(f *Fleet) { f.Stacks[0].Rollout.Phase = v1alpha1.RolloutPaused }, "fleet/production v0.1.1 Paused, 2/4 clusters proven"},
		{"a wave", func(f *Fleet) { f.Stacks[0].Rollout.Waves[1].Phase = v1alpha1.WaveFailed }, "fleet/production wave alfa Failed, 0/2 clusters proven"},
		{"a breach", func(f *Fleet) {
			f.Stacks[0].Rollout.Breach = &v1alpha1.Breach{Cluster: "d", Reason: "ProbeBreached", Message: "lost"}
		}, "fleet/production breach: cluster d: ProbeBreached: lost"},
		{"a cluster goes away", func(f *Fleet) {
			f.Clusters[0].Away, f.Clusters[0].Ready, f.Clusters[0].Reason = true, false, "Unreachable"
		}, "fleet/a v0.1.1 Away: Unreachable: -"},
		{"a cluster is gone", func(f *Fleet) { f.Clusters = f.Clusters[1:] }, "fleet/a has left production"},
		{"a stack is gone", func(f *Fleet) { f.Stacks = nil }, "fleet/production is gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := fleet()
			c.change(&f)
			if got := strings.Join(News(fleet(), f), "\n"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if got := News(Fleet{}, fleet()); len(got) != 2 {
		t.Errorf("a fleet that is seen for the first time is its stacks and what is not Ready, got %q", got)
	}
}
