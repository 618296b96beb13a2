// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"fmt"
	"os"
	"time"
)

// takeDown bounds the end of a lab.
const takeDown = 2 * time.Minute

// Suite is a package of tests that share one lab, which Run starts and takes down.
//
// FAIRLEAD_KEEP_LAB leaves the lab up, to look at it after a failure. FAIRLEAD_USE_LAB runs on
// the lab that is up, and leaves it so, to try one test again.
type Suite struct {
	// Target is the make target that runs the package as root.
	Target string
	// Settings are variables of the lab, as NAME=value.
	Settings map[string]string
	// Patience bounds the lab's start, with Begin.
	Patience time.Duration
	// Before is called before the lab is started, and after what an earlier run may have left
	// is gone; nil is nothing.
	Before func()
	// Begin brings the lab that is up to where the tests begin.
	Begin func(ctx context.Context, l *Lab) error
}

// Run runs tests on the lab, and returns the exit code.
func (s Suite) Run(tests func() int) int {
	code, err := s.run(tests)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func (s Suite) run(tests func() int) (code int, err error) {
	if os.Geteuid() != 0 {
		return 0, fmt.Errorf("these tests start the lab: run them as root (make %s)", s.Target)
	}
	for name, value := range s.Settings {
		if err := os.Setenv(name, value); err != nil {
			return 0, err
		}
	}
	l, err := Open(os.Stdout)
	if err != nil {
		return 0, err
	}
	use := os.Getenv("FAIRLEAD_USE_LAB") != ""
	if !use && os.Getenv("FAIRLEAD_KEEP_LAB") == "" {
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), takeDown)
			defer cancel()
			if err := l.Run(ctx, "down"); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.Patience)
	defer cancel()
	if !use {
		if err := l.Run(ctx, "down"); err != nil { // what an earlier run may have left
			return 0, err
		}
	}
	if s.Before != nil {
		s.Before()
	}
	if err := l.Run(ctx, "up"); err != nil {
		return 0, err
	}
	if err := s.Begin(ctx, l); err != nil {
		return 0, err
	}
	return tests(), nil
}

// InTurn is several steps as one: the first that fails ends them.
func InTurn(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}
