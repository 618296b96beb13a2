// SPDX-License-Identifier: Apache-2.0

// Package rollout proves on the lab, with three workload clusters, that a change goes
// through a fleet wave by wave, that packets stop one that is bad, and that releases heal.
// The tests run in the order of their files' names on one lab, which TestMain starts and
// takes down. The operator is a process of this machine, so that it can be killed anywhere.
package rollout

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/testkit"
)

// Versions: what is installed, the next one, and those that must not reach the fleet (the
// Makefile's NEXT, LOSSY, FAILING and BROKEN).
const (
	present = "v0.1.0"
	next    = "v0.1.1"
	lossy   = "v0.1.2"
	failing = "v0.1.3"
	broken  = "v0.1.4"
)

// The clusters, one a wave, in the order of the waves.
var clusters = []string{"alpha", "bravo", "charlie"}

const waveLabel = "wave"

var (
	lab *testkit.Lab
	// operatorLog has what the operators of all tests said.
	operatorLog *os.File
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "test/rollout starts the lab: run it as root (make test-rollout)")
		return 1
	}
	if err := os.Setenv("LAB_CLUSTERS", "alpha bravo charlie"); err != nil {
		return 1
	}
	var err error
	if lab, err = testkit.Open(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// As in test/e2e: leave the lab up after a failure, or run on one that is up.
	use := os.Getenv("FAIRLEAD_USE_LAB") != ""
	keep := os.Getenv("FAIRLEAD_KEEP_LAB") != "" || use
	defer func() {
		if keep {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := lab.Run(ctx, "down"); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	if operatorLog, err = os.Create(lab.Path("out", "rollout-operator.log")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer operatorLog.Close() //nolint:errcheck // nothing of it is read here
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if err := begin(ctx, use); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// begin starts the lab, with every version's image on every node.
func begin(ctx context.Context, use bool) error {
	if !use {
		if err := lab.Run(ctx, "down"); err != nil { // what an earlier run may have left
			return err
		}
	}
	steps := []func(context.Context) error{
		func(ctx context.Context) error { return lab.Run(ctx, "up") },
		lab.LoadImages, lab.ApplyOperatorCRDs, label,
	}
	for _, v := range []string{next, lossy, failing, broken} {
		steps = append(steps, func(ctx context.Context) error { return lab.LoadVersion(ctx, v) })
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// label puts each Cluster into its wave.
func label(ctx context.Context) error {
	hub, err := lab.Client(testkit.Hub)
	if err != nil {
		return err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testkit.OperatorNamespace}}
	if err := hub.Create(ctx, ns); client.IgnoreAlreadyExists(err) != nil {
		return err
	}
	for _, name := range clusters {
		c := &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: testkit.FleetNamespace, Name: name}}
		patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, waveLabel, name))
		if err := hub.Patch(ctx, c, patch); err != nil {
			return err
		}
	}
	return nil
}
