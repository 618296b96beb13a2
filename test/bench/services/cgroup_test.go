// SPDX-License-Identifier: Apache-2.0

package services

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestWithinACgroup: the process is there meanwhile, and back afterwards whatever happens,
// so that the cgroup can be removed.
func TestWithinACgroup(t *testing.T) {
	dir, err := makeCgroup("test")
	if err != nil {
		t.Fatal(err)
	}
	was, err := ownCgroup()
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed")
	err = within(dir, func() error {
		if now, err := ownCgroup(); err != nil || filepath.Base(now) != filepath.Base(dir) {
			t.Errorf("the process is in %s (%v), want %s", now, err, dir)
		}
		return failed
	})
	if !errors.Is(err, failed) {
		t.Errorf("got %v, want what failed inside", err)
	}
	if now, err := ownCgroup(); err != nil || now != was {
		t.Errorf("the process is in %s (%v) afterwards, want %s", now, err, was)
	}
	if err := os.Remove(dir); err != nil {
		t.Error(err)
	}
}
