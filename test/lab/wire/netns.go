// SPDX-License-Identifier: Apache-2.0

// Package wire makes the lab's network: network namespaces, bridges and cables (veth pairs).
//
// Everything hangs off the lab's router namespace. The package must never create a link, an address,
// a route or a sysctl in the namespace of its caller.
package wire

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

const netnsDir = "/run/netns"

// Path returns the file by which a named network namespace is entered.
func Path(name string) string { return filepath.Join(netnsDir, name) }

// Exists says whether there is a network namespace (and no mere leftover file) of that name.
func Exists(name string) bool {
	var st unix.Statfs_t
	return unix.Statfs(Path(name), &st) == nil && st.Type == unix.NSFS_MAGIC
}

// Create makes a network namespace, named the way iproute2 does it. One that exists stays.
func Create(name string) error {
	if Exists(name) {
		return nil
	}
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(Path(name), nil, 0o444); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("cannot make a network namespace (is the lab run as root?): %w", err)
		}
		return unix.Mount("/proc/thread-self/ns/net", Path(name), "", unix.MS_BIND, "")
	})
}

// Delete removes the name; the namespace goes away with its last process. An unknown name is no error.
func Delete(name string) error {
	if err := unix.Unmount(Path(name), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot unmount %s: %w", Path(name), err)
	}
	if err := os.Remove(Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Inside runs f in the named network namespace, on a thread that ends with it.
func Inside(name string, f func() error) error {
	return onOwnThread(func() error {
		if err := Enter(name); err != nil {
			return err
		}
		return f()
	})
}

// Enter moves the calling thread, which must be locked to its goroutine for good.
func Enter(name string) error {
	fd, err := unix.Open(Path(name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("no network namespace %s: %w", name, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("cannot enter the network namespace %s: %w", name, err)
	}
	return nil
}

// onOwnThread runs f on a thread that is never used again, since its namespaces may have changed.
func onOwnThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		result <- f()
	}()
	return <-result
}
