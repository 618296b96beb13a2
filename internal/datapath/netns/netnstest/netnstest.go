// SPDX-License-Identifier: Apache-2.0

// Package netnstest makes network namespaces for tests. They end with their tests.
package netnstest

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/netns"
)

// New makes a network namespace that ends with the test. It needs root.
func New(t testing.TB) *netns.NS {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("makes network namespaces: run it as root (make test-bpf)")
	}
	type made struct {
		ns  *netns.NS
		err error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- made{err: err}
			return
		}
		ns, err := netns.Current()
		done <- made{ns, err}
	}()
	m := <-done
	if m.err != nil {
		t.Fatal(m.err)
	}
	t.Cleanup(func() {
		if err := m.ns.Close(); err != nil {
			t.Error(err)
		}
	})
	return m.ns
}
