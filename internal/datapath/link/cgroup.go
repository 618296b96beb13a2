// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cilium/ebpf"
	bpflink "github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// AttachCgroup makes prog a program of all sockets in a cgroup and those below it, beside
// those of others. When it is attached already by this pin, the program is exchanged in
// one step. One at another cgroup, or at one that was removed, goes when the new one is there.
func AttachCgroup(pin, dir string, at ebpf.AttachType, prog *ebpf.Program) error {
	exchanged, err := exchangeCgroup(pin, dir, prog)
	if err == nil && !exchanged {
		err = replaceCgroup(pin, dir, at, prog)
	}
	if err != nil {
		return fmt.Errorf("attach %s to cgroup %s: %w", pin, dir, err)
	}
	return nil
}

// exchangeCgroup updates a pinned link, and reports false when there is none to this cgroup.
func exchangeCgroup(pin, dir string, prog *ebpf.Program) (bool, error) {
	l, err := bpflink.LoadPinnedLink(pin, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer l.Close()
	info, err := l.Info()
	if err != nil {
		return false, err
	}
	cgroup := info.Cgroup()
	if cgroup == nil {
		return false, fmt.Errorf("the pin is of a link of type %v, not cgroup", info.Type)
	}
	id, err := cgroupID(dir)
	if err != nil || id != cgroup.CgroupId {
		return false, err
	}
	if err := l.Update(prog); err != nil {
		return false, fmt.Errorf("exchange the program: %w", err)
	}
	return true, nil
}

// replaceCgroup attaches anew, and removes what the pin was of only then.
func replaceCgroup(pin, dir string, at ebpf.AttachType, prog *ebpf.Program) error {
	l, err := bpflink.AttachCgroup(bpflink.CgroupOptions{Path: dir, Attach: at, Program: prog})
	if err != nil {
		return err
	}
	defer l.Close()
	if err := DetachCgroup(pin); err != nil {
		return err
	}
	if err := l.Pin(pin); err != nil {
		return fmt.Errorf("pin: %w", err)
	}
	return nil
}

// cgroupID is the number that the kernel knows a cgroup by: that of its directory.
func cgroupID(dir string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	return st.Ino, nil
}

// DetachCgroup removes an attachment to a cgroup by its pin; that there is none, or that the
// cgroup is gone, is no error.
func DetachCgroup(pin string) error {
	l, err := bpflink.LoadPinnedLink(pin, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		// Without this the kernel detaches it some time after the pin has gone.
		err = errors.Join(l.Detach(), l.Close())
	}
	if err == nil {
		err = os.Remove(pin)
	}
	if err != nil {
		return fmt.Errorf("detach %s: %w", pin, err)
	}
	return nil
}
