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
	"strings"
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

func TestMain(m *testing.M) {
	os.Exit(testkit.Suite{
		Target: "test-rollout", Patience: 10 * time.Minute, Begin: begin,
		Settings: map[string]string{"LAB_CLUSTERS": strings.Join(clusters, " ")},
	}.Run(m.Run))
}

// begin brings every version's image to every node.
func begin(ctx context.Context, l *testkit.Lab) (err error) {
	lab = l
	if operatorLog, err = os.Create(lab.Path("out", "rollout-operator.log")); err != nil {
		return err
	}
	steps := []func(context.Context) error{lab.LoadImages, lab.ApplyOperatorCRDs, label}
	for _, v := range []string{next, lossy, failing, broken} {
		steps = append(steps, func(ctx context.Context) error { return lab.LoadVersion(ctx, v) })
	}
	return testkit.InTurn(ctx, steps...)
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
