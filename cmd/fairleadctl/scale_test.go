// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

const (
	// fleetSize is the number of clusters that `status` is quick for.
	fleetSize = 1000
	// quick is what a person takes for at once. The test's own limit leaves room for a
	// machine that is busy with other tests.
	quick = 200 * time.Millisecond
	limit = 5 * quick
	runs  = 40
)

// TestStatusOfAThousandClustersIsQuick runs the program as people do: from its start, with
// its kubeconfig, to its end.
func TestStatusOfAThousandClustersIsQuick(t *testing.T) {
	s := begin(t)
	s.rollout(s.stack("production", nil), underWay(v1alpha1.RolloutProgressing))
	var group errgroup.Group
	group.SetLimit(16)
	for i := range fleetSize {
		group.Go(func() error {
			ready := metav1.ConditionTrue
			if i%50 == 0 {
				ready = metav1.ConditionFalse
			}
			return createOrdinary(s, fmt.Sprintf("cluster-%04d", i), ready)
		})
	}
	s.Expect(group.Wait()).To(Succeed())

	program := filepath.Join(t.TempDir(), "fairleadctl")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	s.Expect(err).NotTo(HaveOccurred(), string(out))
	took := make([]time.Duration, 0, runs)
	for range runs {
		cmd := exec.CommandContext(s.ctx, program, "--kubeconfig", kubeconfig, "--namespace", s.ns, "status")
		begun := time.Now()
		out, err := cmd.Output()
		took = append(took, time.Since(begun))
		s.Expect(err).NotTo(HaveOccurred())
		s.Expect(string(out)).To(ContainSubstring("20 of 1000 clusters are not Ready"), "the clusters that are not Ready are counted")
		s.Expect(strings.Count(string(out), "NodesNotReady")).To(BeNumerically("<=", 11), "and those that are listed are bounded")
	}
	slices.Sort(took)
	p50, p95 := took[runs/2], took[runs*95/100]
	t.Logf("fairleadctl status of %d clusters: p50 %s, p95 %s of %d runs (aim: p95 of %s)", fleetSize, p50, p95, runs, quick)
	s.Expect(p95).To(BeNumerically("<", limit))
}

// createOrdinary creates a ClusterStack as large as they are in life: conditions,
// measurements, releases.
func createOrdinary(s *story, name string, ready metav1.ConditionStatus) error {
	cs, err := createClusterStack(s.ctx, s.ns, "production", name, "canary", ready)
	if err != nil {
		return err
	}
	for _, kind := range []string{v1alpha1.ConditionTrusted, v1alpha1.ConditionReleased, v1alpha1.ConditionRolledOut, v1alpha1.ConditionProven, v1alpha1.ConditionKubeProxyRemoved} {
		cs.Status.Conditions = append(cs.Status.Conditions, metav1.Condition{
			Type: kind, Status: metav1.ConditionTrue, Reason: "AsWanted", Message: "a message as long as they are: 3 of 3 nodes", LastTransitionTime: metav1.Now(),
		})
	}
	for _, probe := range []string{"peers", "dns", "service"} {
		m := v1alpha1.Measurement{Probe: probe, Sent: 120000, Lost: 3, P99Microseconds: 1200}
		cs.Status.Update.Baseline = append(cs.Status.Update.Baseline, m)
		cs.Status.Update.Measured = append(cs.Status.Update.Measured, m)
	}
	cs.Status.Releases = []v1alpha1.ReleaseStatus{{Name: "fairlead-cni", ChartVersion: "0.1.0", Revision: 4, State: "Current", Digest: strings.Repeat("a", 32)}}
	return management.Client.Status().Update(s.ctx, cs)
}
