// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	hybrid  = "24 18 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n" +
		"25 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n" +
		"26 24 0:24 / /sys/fs/cgroup/systemd rw shared:8 - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd\n" +
		"27 24 0:25 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset,clone_children\n" +
		"28 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n" +
		"29 24 0:23 / /elsewhere/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, mountinfo string
		want            Layout
		unified         bool
		v2              string
	}{
		{name: "v2 alone", mountinfo: unified, want: Layout{{Mount: "/sys/fs/cgroup", V2: true}}, unified: true, v2: "/sys/fs/cgroup"},
		{name: "hybrid, one hierarchy mounted twice", mountinfo: hybrid, want: Layout{
			{Mount: "/sys/fs/cgroup/cpu,cpuacct", Options: "cpu,cpuacct"},
			{Mount: "/sys/fs/cgroup/systemd", Options: "none,name=systemd"},
			{Mount: "/sys/fs/cgroup/cpuset", Options: "cpuset"},
			{Mount: "/sys/fs/cgroup/unified", V2: true},
		}, v2: "/sys/fs/cgroup/unified"},
		{name: "nothing, and lines that make no sense", mountinfo: "\n1 2 3\nx - cgroup\n - cgroup a b\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := parse(tc.mountinfo)
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
			if got.Unified() != tc.unified || got.V2() != tc.v2 {
				t.Errorf("unified %v at %q", got.Unified(), got.V2())
			}
		})
	}
}

// The story of one cgroup: made, joined by a process with a child cgroup, destroyed.
func TestDestroyKillsAndRemoves(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("it makes cgroups: run it as root (make test-bpf)")
	}
	layout, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	path := "fairlead-test-" + strconv.Itoa(os.Getpid())
	if err := layout.Create(path + "/inner"); err != nil {
		t.Fatal(err)
	}
	sleeper := exec.Command("sleep", "600")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	if err := layout.Join(path+"/inner", sleeper.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if got := layout.Processes(path); len(got) != 1 || got[0] != sleeper.Process.Pid {
		t.Errorf("processes are %v, want %d", got, sleeper.Process.Pid)
	}
	ended := make(chan error, 1)
	go func() { ended <- sleeper.Wait() }()
	if err := layout.Destroy(path, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the process was not killed")
	}
	for _, h := range layout {
		if _, err := os.Stat(filepath.Join(h.Mount, path)); err == nil {
			t.Errorf("%s is still there", filepath.Join(h.Mount, path))
		}
	}
	if err := layout.Destroy(path, time.Second); err != nil {
		t.Errorf("destroying nothing fails: %v", err)
	}
}
