// SPDX-License-Identifier: Apache-2.0

// Package e2e proves the product on the lab: real clusters, the operator as a
// user installs it, packets. The tests run in the order of their files' names
// on one lab, which TestMain starts and takes down.
package e2e

import (
	"context"
	"fmt"
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
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "test/e2e starts the lab: run it as root (make test-e2e)")
		return 1
	}
	var err error
	if lab, err = testkit.Open(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// FAIRLEAD_KEEP_LAB leaves the lab up, to look at it after a failure. FAIRLEAD_USE_LAB
	// runs on the lab that is up, and leaves it so, to try one test again.
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
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if !use {
		if err := lab.Run(ctx, "down"); err != nil { // what an earlier run may have left
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	programsBefore = programs()
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return lab.Run(ctx, "up") },
		lab.LoadImages,
		lab.InstallOperator,
	} {
		if err := step(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// within bounds a step of a test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	return testkit.Within(t, d)
}
