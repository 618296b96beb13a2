// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/testkit"
)

func duration(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

// kills is how often the operator is killed: a few times in make test, FAIRLEAD_KILLS in the
// long form.
func kills(t *testing.T) int {
	text := os.Getenv("FAIRLEAD_KILLS")
	if text == "" {
		return 5
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("FAIRLEAD_KILLS=%q is no number of kills", text)
	}
	return n
}

// TestDAnOperatorThatIsKilledAnywhere: whoever comes after goes on, the end is right, and no
// workload is changed twice by one upgrade.
func TestDAnOperatorThatIsKilledAnywhere(t *testing.T) {
	func() {
		p := startOperator(t, alone)
		defer p.Kill()
		installed(t, present)
	}()
	want := kills(t)
	killed, upgrades := 0, 0
	for version := next; killed < want; upgrades++ {
		before := generations(t)
		upgrade(t, version)
		killed += killUntil(t, version, want-killed)
		p := startOperator(t, alone)
		phase(t, 6*time.Minute, version, fairlead.RolloutComplete)
		p.Kill()
		runs(t, version)
		after := generations(t)
		for workload, generation := range before {
			if after[workload] != generation+1 {
				t.Errorf("%s was changed %d times by one upgrade", workload, after[workload]-generation)
			}
		}
		if version == next {
			version = present
		} else {
			version = next
		}
	}
	t.Logf("killed %d times in %d rollouts", killed, upgrades)
}

// killUntil kills the operator at random moments until the rollout is complete, or often enough.
func killUntil(t *testing.T, version string, enough int) int {
	t.Helper()
	n := 0
	for n < enough {
		p := startOperator(t, alone)
		time.Sleep(time.Duration(rand.Int64N(int64(6 * time.Second)))) // the moment is what is random
		p.Kill()
		n++
		s, err := readStack(testkit.Within(t, time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if s.Status.Version == version && s.Status.Rollout.Phase == fairlead.RolloutComplete {
			break
		}
	}
	return n
}

// TestDAnotherLeaderGoesOn: the leader dies in the middle of a wave; the operator that stood
// by ends it.
func TestDAnotherLeaderGoesOn(t *testing.T) {
	if os.Getenv("FAIRLEAD_KILLS") == "" {
		t.Skip("it waits for a lease to run out: part of the long form, make rollout-kills")
	}
	first := startOperator(t)
	testkit.Eventually(t, time.Minute, "the first operator leads", func(ctx context.Context) error {
		s, err := readStack(ctx)
		if err != nil {
			return err
		}
		upgradeTo := other(s.Spec.Version)
		s.Spec.Version = upgradeTo
		return clientOf(t, testkit.Hub).Update(ctx, s)
	})
	s, err := readStack(testkit.Within(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	startOperator(t)
	testkit.Eventually(t, 2*time.Minute, "the first wave is on its way", func(ctx context.Context) error {
		cs, err := clusterStack(ctx, clusters[0])
		if err == nil && cs.Status.Update.Phase != fairlead.UpdateUpdating {
			err = fmt.Errorf("it is %s", cs.Status.Update.Phase)
		}
		return err
	})
	first.Kill()
	phase(t, 6*time.Minute, s.Spec.Version, fairlead.RolloutComplete)
	runs(t, s.Spec.Version)
}

func other(version string) string {
	if version == next {
		return present
	}
	return next
}

// TestDTheManagementClusterIsLost: all that it knew of the fleet is gone, as with an empty
// etcd, and somebody applies the stack again. Nothing restarts.
func TestDTheManagementClusterIsLost(t *testing.T) {
	func() {
		p := startOperator(t, alone)
		defer p.Kill()
		installed(t, next)
	}()
	before := generations(t)
	forget(t)
	startOperator(t, alone)
	start := time.Now()
	installed(t, next)
	t.Logf("adopted and proven: %.0f s", time.Since(start).Seconds())
	if after := generations(t); !maps.Equal(before, after) {
		t.Errorf("workloads were changed: %v, before %v", after, before)
	}
	runs(t, next)
}

// forget removes every object of Fairlead from the hub, while no operator is there to clean
// the clusters for it.
func forget(t *testing.T) {
	t.Helper()
	hub := clientOf(t, testkit.Hub)
	ctx := testkit.Within(t, time.Minute)
	var stacks fairlead.NetworkStackList
	var children fairlead.ClusterStackList
	if err := hub.List(ctx, &stacks); err != nil {
		t.Fatal(err)
	}
	if err := hub.List(ctx, &children); err != nil {
		t.Fatal(err)
	}
	var all []client.Object
	for i := range stacks.Items {
		all = append(all, &stacks.Items[i])
	}
	for i := range children.Items {
		all = append(all, &children.Items[i])
	}
	for _, o := range all {
		if err := hub.Patch(ctx, o, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
			t.Fatal(err)
		}
		if err := client.IgnoreNotFound(hub.Delete(ctx, o)); err != nil {
			t.Fatal(err)
		}
	}
}
