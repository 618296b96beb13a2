// SPDX-License-Identifier: Apache-2.0

// Package cgroup makes, kills and removes the cgroups that hold a lab's processes, on hosts with
// cgroup v1, v2 or both ("hybrid").
//
// A lab's processes are found by their cgroup and by nothing else, so a lab can be cleaned up after
// any crash. The package must not touch a cgroup above the path that it is given, but for switching
// on controllers for it where only v2 is mounted.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Hierarchy is one mounted cgroup file system.
type Hierarchy struct {
	Mount   string // Where it is mounted.
	Options string // v1: what to give to mount(2), for example "cpu,cpuacct" or "none,name=systemd".
	V2      bool
}

// Layout is all the hierarchies of a host.
type Layout []Hierarchy

// Detect reads the host's layout.
func Detect() (Layout, error) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	l := parse(string(raw))
	if len(l) == 0 {
		return nil, errors.New("no cgroup file system is mounted: mount one with `mount -t cgroup2 cgroup2 /sys/fs/cgroup`")
	}
	return l, nil
}

// parse finds the cgroup mounts in the text of /proc/<pid>/mountinfo. A hierarchy that is mounted
// twice counts once.
func parse(mountinfo string) Layout {
	var l Layout
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		h := Hierarchy{Mount: left[4]}
		switch right[0] {
		case "cgroup2":
			h.V2 = true
		case "cgroup":
			h.Options = v1Options(right[2])
		default:
			continue
		}
		if !slices.ContainsFunc(l, func(o Hierarchy) bool { return o.V2 == h.V2 && o.Options == h.Options }) {
			l = append(l, h)
		}
	}
	return l
}

// v1Options keeps what selects the hierarchy and drops what merely tunes the mount.
func v1Options(super string) string {
	var keep []string
	for o := range strings.SplitSeq(super, ",") {
		switch {
		case o == "rw" || o == "ro" || o == "xattr" || o == "clone_children" || strings.HasPrefix(o, "release_agent="):
		case strings.HasPrefix(o, "name="):
			keep = append(keep, "none", o)
		default:
			keep = append(keep, o)
		}
	}
	return strings.Join(keep, ",")
}

// V2 returns where cgroup v2 is mounted, or "" when it is not.
func (l Layout) V2() string {
	for _, h := range l {
		if h.V2 {
			return h.Mount
		}
	}
	return ""
}

// Unified says whether v2 is the only one.
func (l Layout) Unified() bool { return len(l) == 1 && l[0].V2 }

// Only returns the v2 hierarchy, or those of v1.
func (l Layout) Only(v2 bool) (some Layout) {
	for _, h := range l {
		if h.V2 == v2 {
			some = append(some, h)
		}
	}
	return some
}

// Create makes the cgroup in every hierarchy, ready to take processes. One that exists stays.
func (l Layout) Create(path string) error {
	for _, h := range l {
		dir := h.Mount
		for _, part := range strings.Split(path, "/") {
			if l.Unified() {
				if err := EnableControllers(dir); err != nil {
					return err
				}
			}
			dir = filepath.Join(dir, part)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("cannot make the cgroup %s (is the lab run as root, with writable cgroups?): %w", dir, err)
			}
			if err := inheritCPUSet(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// EnableControllers passes every controller of a v2 cgroup on to its children.
func EnableControllers(dir string) error {
	raw, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(raw)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			return fmt.Errorf("cannot switch on the controller %s in %s: %w", c, dir, err)
		}
	}
	return nil
}

// inheritCPUSet fills a v1 cpuset, which takes no process while it is empty.
func inheritCPUSet(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "cgroup.clone_children")); err != nil {
		return nil
	}
	for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(dir), f))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, f), parent, 0)
		}
		if err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.clone_children"), []byte("1"), 0)
}

// Join moves a process into the cgroup in every hierarchy.
func (l Layout) Join(path string, pid int) error {
	for _, h := range l {
		f := filepath.Join(h.Mount, path, "cgroup.procs")
		if err := os.WriteFile(f, []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("cannot join the cgroup %s: %w", filepath.Dir(f), err)
		}
	}
	return nil
}

// Processes lists the processes in the cgroup and all below it.
func (l Layout) Processes(path string) []int {
	var pids []int
	for _, h := range l {
		_ = filepath.WalkDir(filepath.Join(h.Mount, path), func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil // A cgroup that vanishes meanwhile has no processes.
			}
			raw, _ := os.ReadFile(filepath.Join(p, "cgroup.procs"))
			for f := range strings.FieldsSeq(string(raw)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 0 && !slices.Contains(pids, pid) {
					pids = append(pids, pid)
				}
			}
			return nil
		})
	}
	return pids
}

// Destroy kills every process in the cgroup and below, and removes it from all hierarchies. The
// calling process must not be in it.
func (l Layout) Destroy(path string, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		pids := l.Processes(path)
		if slices.Contains(pids, os.Getpid()) {
			return fmt.Errorf("will not destroy the cgroup %s: this very process is in it", path)
		}
		if v2 := l.V2(); v2 != "" { // All at once, so nothing is left to restart what was killed first.
			_ = os.WriteFile(filepath.Join(v2, path, "cgroup.kill"), []byte("1"), 0)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		err := l.remove(path)
		if len(pids) == 0 && err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the cgroup %s does not go away: processes %v are left: %w", path, pids, err)
		}
	}
}

func (l Layout) remove(path string) (last error) {
	for _, h := range l {
		var dirs []string
		_ = filepath.WalkDir(filepath.Join(h.Mount, path), func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
		for _, d := range slices.Backward(dirs) {
			if err := syscall.Rmdir(d); err != nil && !errors.Is(err, syscall.ENOENT) {
				last = &fs.PathError{Op: "rmdir", Path: d, Err: err}
			}
		}
	}
	return last
}
