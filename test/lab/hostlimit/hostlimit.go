// SPDX-License-Identifier: Apache-2.0

// Package hostlimit raises the one limit of the host that a lab cannot do without, for as long as
// any lab runs: fs.inotify.max_user_instances. A machine of a lab holds about nine instances, all of
// them root's, and many hosts allow 128.
//
// Labs share the host, so the first that needs it raises the limit and the last one to leave restores
// it. What was there before, and who needs it, is kept in a folder that does not outlive a reboot,
// just like the limit.
package hostlimit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limit is a number in a file of the kernel.
type Limit struct {
	File  string // Below /proc/sys.
	Want  int    // At least.
	State string // Folder of the shared record.
}

// Inotify is the limit that labs need. Its number is enough for about a hundred machines.
func Inotify() Limit {
	return Limit{File: "/proc/sys/fs/inotify/max_user_instances", Want: 1024, State: "/run/fairlead-lab"}
}

// Raise makes sure of the limit and records that the lab needs it. It may be called again.
func (l Limit) Raise(lab string) error {
	return l.locked(func() error {
		have, err := l.read()
		if err != nil {
			return err
		}
		if have >= l.Want && !exists(l.original()) {
			return nil // The host's own choice is good enough.
		}
		if !exists(l.original()) {
			if err := os.WriteFile(l.original(), []byte(strconv.Itoa(have)), 0o644); err != nil {
				return err
			}
		}
		if err := os.WriteFile(l.user(lab), nil, 0o644); err != nil {
			return err
		}
		if have >= l.Want {
			return nil
		}
		return os.WriteFile(l.File, []byte(strconv.Itoa(l.Want)), 0)
	})
}

// Release records that the lab is gone, and restores the limit after the last one, unless someone
// else has changed it meanwhile.
func (l Limit) Release(lab string) error {
	if !exists(l.State) {
		return nil
	}
	return l.locked(func() error {
		if err := os.Remove(l.user(lab)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		users, err := filepath.Glob(l.user("*"))
		if err != nil || len(users) > 0 {
			return err
		}
		if raw, err := os.ReadFile(l.original()); err == nil {
			if have, err := l.read(); err == nil && have == l.Want {
				if err := os.WriteFile(l.File, raw, 0); err != nil {
					return err
				}
			}
		}
		return os.RemoveAll(l.State)
	})
}

func (l Limit) original() string       { return filepath.Join(l.State, "original") }
func (l Limit) user(lab string) string { return filepath.Join(l.State, "lab-"+lab) }
func exists(path string) bool          { _, err := os.Stat(path); return err == nil }

// locked keeps two labs from changing the record at once. The lock is beside the folder, since the
// folder goes away.
func (l Limit) locked(f func() error) error {
	if err := os.MkdirAll(l.State, 0o755); err != nil {
		return err
	}
	lock, err := os.Open(filepath.Dir(l.State))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if err := os.MkdirAll(l.State, 0o755); err != nil { // A lab that left has removed it.
		return err
	}
	err = f()
	_ = os.Remove(l.State) // Only when it is empty.
	return err
}

func (l Limit) read() (int, error) {
	raw, err := os.ReadFile(l.File)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", l.File, err)
	}
	return n, nil
}
