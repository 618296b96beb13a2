// SPDX-License-Identifier: Apache-2.0

// Package lifecycle follows clusters from `kubectl apply` of a topology Cluster to their end on the
// lab, made by Cluster API's own manager: addresses, first packet, another node, an upgrade of
// Kubernetes that is held and released, and what the next cluster gets. The tests run in the
// order of their files' names on one lab, which TestMain starts and takes down. The operator is a
// process beside Cluster API's manager, so that it can be killed during any hook.
package lifecycle

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/test/faulty"
	"github.com/fairlead-io/fairlead/test/testkit"
)

const (
	// present is this checkout's version; past is one whose chart does not support newKubernetes.
	present, past = "v0.1.0", "v0.0.9"
	// The versions of Kubernetes that the lab has binaries of.
	oldKubernetes, newKubernetes = "v1.34.4", "v1.35.4"
	pastSupports                 = ">=1.32.0-0 <1.35.0-0"

	// hooksAddress is where the operator answers, seen from Cluster API's manager: they share a
	// machine.
	hooksAddress = "127.0.0.1:9445"
)

var (
	lab *testkit.Lab
	// operatorLog has what the operators of all tests said.
	operatorLog *os.File
)

func TestMain(m *testing.M) {
	os.Exit(testkit.Suite{
		Target: "test-lifecycle", Patience: 15 * time.Minute, Begin: begin,
		Settings: map[string]string{"LAB_CAPI": "on", "LAB_CLUSTERS": "none", "LAB_KUBERNETES_ALSO": oldKubernetes},
	}.Run(m.Run))
}

// chartsDir has the chart of past.
func chartsDir() string { return lab.Path("out", "lifecycle-charts") }

// begin has every cluster's images wait on a lab of nothing but its hub.
func begin(ctx context.Context, l *testkit.Lab) (err error) {
	lab = l
	if operatorLog, err = os.Create(lab.Path("out", "lifecycle-operator.log")); err != nil {
		return err
	}
	if _, err := faulty.PackFor(chartsDir(), past, pastSupports); err != nil {
		return err
	}
	return testkit.InTurn(ctx, lab.LoadImages,
		func(ctx context.Context) error { return lab.LoadVersion(ctx, past) },
		lab.ApplyOperatorCRDs, introduce)
}

// introduce does what the operator's chart does: its namespace, and the ExtensionConfig; and the
// ClusterClass names the operator.
func introduce(ctx context.Context) error {
	hub, err := lab.Client(testkit.Hub)
	if err != nil {
		return err
	}
	for _, text := range []string{`
apiVersion: v1
kind: Namespace
metadata: {name: fairlead-system}
`, `
apiVersion: runtime.cluster.x-k8s.io/v1beta2
kind: ExtensionConfig
metadata: {name: fairlead}
spec: {clientConfig: {url: "https://` + hooksAddress + `"}}
`} {
		if err := applyText(ctx, hub, text); err != nil {
			return err
		}
	}
	return testkit.NameInClass(ctx, hub)
}
