// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/fairlead-io/fairlead/internal/datapath/link"
)

// newCgroup makes a cgroup, for a node's sockets.
func newCgroup(t *testing.T) string {
	t.Helper()
	root, err := link.CgroupMount("/sys/fs/cgroup")
	must(t, err)
	dir, err := os.MkdirTemp(filepath.Join(root, ownCgroup(t)), "fairlead-test-")
	must(t, err)
	t.Cleanup(func() { must(t, os.Remove(dir)) })
	return dir
}

// ownCgroup is this process's, relative to the mount.
func ownCgroup(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path
		}
	}
	t.Fatal("this process is in no cgroup of version 2")
	return ""
}

// asProcess does something as a process of the node: sockets are of the cgroup that they are
// made in, and stay so.
func (n *node) asProcess(t *testing.T, do func()) {
	t.Helper()
	root, err := link.CgroupMount("/sys/fs/cgroup")
	must(t, err)
	home := filepath.Join(root, ownCgroup(t))
	move := func(to string) {
		must(t, os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0))
	}
	move(n.opts.CgroupRoot)
	defer move(home)
	do()
}
