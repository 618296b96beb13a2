// SPDX-License-Identifier: Apache-2.0

// Package netns enters network namespaces and always comes back: work in another
// namespace runs on an operating system thread of its own, which is thrown away when it
// cannot be returned to where it came from.
//
// It must not make or name namespaces; those belong to the container runtime.
package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// NS is an open network namespace. It keeps the namespace alive until it is closed.
type NS struct {
	file *os.File
	dev  uint64
	ino  uint64
}

// Current opens the namespace of the calling thread.
func Current() (*NS, error) {
	return Open("/proc/thread-self/ns/net")
}

// Open opens the namespace at a path, usually below /run/netns or /proc/<pid>/ns.
// It is an error when something else than a network namespace is there.
func Open(path string) (*NS, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		file.Close()
		return nil, fmt.Errorf("network namespace: %s is not a network namespace", path)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		file.Close()
		return nil, fmt.Errorf("network namespace: stat %s: %w", path, err)
	}
	return &NS{file: file, dev: uint64(st.Dev), ino: st.Ino}, nil
}

// FD is the descriptor of the namespace; it is valid until Close.
func (n *NS) FD() int { return int(n.file.Fd()) }

// Same says whether both are the same namespace.
func (n *NS) Same(other *NS) bool { return n.dev == other.dev && n.ino == other.ino }

// Close lets go of the namespace.
func (n *NS) Close() error { return n.file.Close() }

// Do runs fn on a thread that is in the namespace and waits for it. fn must not start
// goroutines that rely on the namespace.
func (n *NS) Do(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err, home := n.onThread(fn)
		if home {
			runtime.UnlockOSThread()
		}
		// A thread that is still locked ends with its goroutine.
		done <- err
	}()
	return <-done
}

func (n *NS) onThread(fn func() error) (err error, home bool) {
	was, err := Current()
	if err != nil {
		return err, true
	}
	defer was.Close()
	if was.Same(n) {
		return fn(), true
	}
	if err := unix.Setns(n.FD(), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("network namespace: enter: %w", err), true
	}
	err = fn()
	if back := unix.Setns(was.FD(), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("network namespace: leave: %w", back)), false
	}
	return err, true
}
