// SPDX-License-Identifier: Apache-2.0

package sysctl

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// inFreshNamespace runs a test on a thread with network settings of its own, and a BPF
// file system for the memory.
func inFreshNamespace(t *testing.T, test func(t *testing.T, pins string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("changes settings of a network namespace: run it as root (make test-bpf)")
	}
	pins := t.TempDir()
	noError(t, unix.Mount("bpf", pins, "bpf", 0, ""))
	t.Cleanup(func() { noError(t, unix.Unmount(pins, unix.MNT_DETACH)) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		test(t, pins)
	}()
	<-done
}

func TestMemory(t *testing.T) {
	inFreshNamespace(t, func(t *testing.T, pins string) {
		const (
			all   = "net/ipv6/conf/all/forwarding"
			one   = "net/ipv6/conf/lo/forwarding"
			ttl   = "net/ipv4/ip_default_ttl"
			mixed = "net/ipv4/conf/lo/rp_filter"
		)
		before := map[string]string{all: "0", one: "1", ttl: "64", mixed: read(t, mixed)}
		check(t, Write(one, "1"))

		m, err := OpenMemory(pins)
		check(t, err)
		for _, set := range [][2]string{{one, "0"}, {all, "1"}, {ttl, "32"}, {ttl, "33"}} {
			check(t, m.Set(set[0], set[1]))
		}
		check(t, m.Set(mixed, before[mixed])) // has it already: nothing to remember
		check(t, m.Close())

		m, err = OpenMemory(pins) // after a restart
		check(t, err)
		check(t, m.Set(ttl, "33"))
		// Somebody gave another value to a setting that we had changed: it is theirs now.
		check(t, Write(ttl, "40"))
		before[ttl] = "40"
		check(t, m.Restore())
		check(t, m.Restore()) // finds nothing
		check(t, m.Close())
		for name, want := range before {
			if got := read(t, name); got != want {
				t.Errorf("%s is %s after Restore, want %s", name, got, want)
			}
		}
	})
}

func TestSettingThatIsNotThere(t *testing.T) {
	inFreshNamespace(t, func(t *testing.T, pins string) {
		m, err := OpenMemory(pins)
		check(t, err)
		defer m.Close()
		const name = "net/ipv4/conf/no-such-device/rp_filter"
		if err := m.Set(name, "2"); err == nil || Exists(name) {
			t.Errorf("a setting that is not there was set (%v)", err)
		}
		if err := Write(name, "2"); err == nil {
			t.Error("a setting that is not there was written")
		}
	})
}

// check reports without ending the goroutine, which is not the test's own.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	v, err := Read(name)
	check(t, err)
	return v
}
