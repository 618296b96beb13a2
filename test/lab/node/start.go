// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/test/lab/cgroup"
	"github.com/fairlead-io/fairlead/test/lab/wire"
)

// The hidden subcommands by which the lab's program calls itself.
const (
	BootCommand = "machine-boot"
	InitCommand = "machine-init"
)

// initLeaf is the v2 cgroup of init and its services: a v2 cgroup that has processes of its own
// cannot pass controllers on, and the machine's root has to.
const initLeaf = "init"

const stopPatience = 20 * time.Second

// Start boots the machine. Its network namespace must exist and be configured.
func Start(s Spec) error {
	for _, dir := range []string{s.Logs, s.Config(), s.Shared} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := prepareDisk(s); err != nil {
		return fmt.Errorf("%s: cannot prepare the disk: %w", s.Name, err)
	}
	if err := s.save(); err != nil {
		return err
	}
	// Not its path: a supervisor boots machines when its program may have been built again.
	boot := exec.Command("/proc/self/exe", BootCommand, s.path())
	if out, err := boot.CombinedOutput(); err != nil {
		return fmt.Errorf("%s does not boot: %s(%w)", s.Name, bytes.TrimLeft(out, "\n"), err)
	}
	return nil
}

// Stop takes the machine's power away: every process in it is killed, its network and cgroups go.
// The disk stays. A machine that does not run is no error.
func Stop(s Spec, layout cgroup.Layout) error {
	if err := layout.Destroy(s.Cgroup, stopPatience); err != nil {
		return err
	}
	_ = os.Remove(string(InitPID(s.Dir)))
	return wire.Delete(s.Netns)
}

// Boot is the short-lived process between Start and Init: it enters the machine's cgroup and network
// namespace, so that the namespaces made next begin there, and waits until Init reports success.
func Boot(path string) error {
	s, err := loadSpec(path)
	if err != nil {
		return err
	}
	layout, err := cgroup.Detect()
	if err != nil {
		return err
	}
	if err := layout.Create(s.Cgroup); err != nil {
		return err
	}
	if err := layout.Join(s.Cgroup, os.Getpid()); err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := wire.Enter(s.Netns); err != nil {
		return err
	}
	return spawnInit(s, path, layout)
}

func spawnInit(s Spec, path string, layout cgroup.Layout) error {
	log, err := os.OpenFile(filepath.Join(s.Logs, "init.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	report, told, err := os.Pipe()
	if err != nil {
		return err
	}
	init := exec.Command("/proc/self/exe", InitCommand, path)
	init.Stdout, init.Stderr = log, log
	wait, proceed, err := os.Pipe()
	if err != nil {
		return err
	}
	init.ExtraFiles = []*os.File{told, wait} // File descriptors 3 and 4.
	init.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP,
	}
	if err := init.Start(); err != nil {
		return fmt.Errorf("cannot make the machine's namespaces: %w", err)
	}
	told.Close()
	wait.Close()
	if err := InitPID(s.Dir).Write(init.Process.Pid); err != nil {
		return err
	}
	// The root of the machine's cgroup namespace is made; now leave it to its children.
	for _, pid := range []int{os.Getpid(), init.Process.Pid} {
		if err := JoinInit(s.Cgroup, layout, pid); err != nil {
			return err
		}
	}
	proceed.Close()
	buf := make([]byte, 4096)
	n, _ := report.Read(buf)
	if answer := string(buf[:n]); answer != "ok" {
		return fmt.Errorf("init failed: %s; see %s", answer, log.Name())
	}
	return nil
}

// JoinInit moves a process of the host to where the machine's init is, so that it dies with the machine.
func JoinInit(path string, layout cgroup.Layout, pid int) error {
	if v2 := layout.V2(); v2 != "" {
		leaf := filepath.Join(path, initLeaf)
		if err := os.MkdirAll(filepath.Join(v2, leaf), 0o755); err != nil {
			return err
		}
		if err := layout.Only(true).Join(leaf, pid); err != nil {
			return err
		}
	}
	return layout.Only(false).Join(path, pid)
}
