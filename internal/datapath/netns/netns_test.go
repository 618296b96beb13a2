// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func fresh(t *testing.T) *NS {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("makes a network namespace: run it as root (make test-bpf)")
	}
	type result struct {
		ns  *NS
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			var ns *NS
			ns, err = Current()
			done <- result{ns, err}
			return
		}
		done <- result{nil, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() { r.ns.Close() })
	return r.ns
}

func TestDo(t *testing.T) {
	ns := fresh(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	for range 100 { // every thread that is used must come back
		err := ns.Do(func() error {
			here, err := Current()
			if err != nil {
				return err
			}
			defer here.Close()
			if !here.Same(ns) || here.Same(home) {
				t.Error("Do runs elsewhere")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		done := make(chan bool)
		go func() {
			here, err := Current()
			if err != nil {
				done <- false
				return
			}
			defer here.Close()
			done <- here.Same(home)
		}()
		if !<-done {
			t.Fatal("a thread was left in the namespace")
		}
	}
	want := errors.New("the error of fn")
	if err := ns.Do(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
	if err := home.Do(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("in the same namespace: got error %v, want %v", err, want)
	}
}

func TestOpen(t *testing.T) {
	for _, path := range []string{"/no/such/path", "/dev/null", "/proc/self/ns/mnt", t.TempDir()} {
		if ns, err := Open(path); err == nil {
			ns.Close()
			t.Errorf("%s is taken for a network namespace", path)
		}
	}
}
