// SPDX-License-Identifier: Apache-2.0

// Package e2e proves the product on the lab: real clusters, the operator as a
// user installs it, packets. The tests run in the order of their files' names
// on one lab, which TestMain starts and takes down.
package e2e

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/test/testkit"
)

// lab is the lab that all tests share.
var lab *testkit.Lab

// programsBefore is how many programs of our names the kernel had before the lab.
var programsBefore int

func TestMain(m *testing.M) {
	os.Exit(testkit.Suite{
		Target: "test-e2e", Patience: 10 * time.Minute,
		Before: func() { programsBefore = programs() },
		Begin: func(ctx context.Context, l *testkit.Lab) error {
			lab = l
			return testkit.InTurn(ctx, lab.LoadImages, lab.InstallOperator)
		},
	}.Run(m.Run))
}

// within bounds a step of a test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	return testkit.Within(t, d)
}
