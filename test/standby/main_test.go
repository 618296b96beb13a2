// SPDX-License-Identifier: Apache-2.0

// Package standby runs two agents on one node, as a DaemonSet with a surge does: one serves,
// the other stands by and comes after it. The agents are the real program, in a network and
// mount namespace of their own, without a controller. It needs root and says so when it has not.
package standby

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside marks the process that runs in the namespaces, and names the folder with the program.
const inside = "FAIRLEAD_TEST_STANDBY_INSIDE"

func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "prepare the namespaces:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "test/standby runs agents: run it as root (make test-bpf)")
		os.Exit(1)
	}
	os.Exit(reexec())
}

// reexec runs this test binary again in namespaces of its own, which end with it.
func reexec() int {
	dir, err := os.MkdirTemp("", "fairlead-standby-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	agent := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program(dir), "../../cmd/fairlead-agent")
	agent.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := agent.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the agent: %v\n%s", err, out)
		return 1
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	signal.Ignore(os.Interrupt)
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	} else if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func program(dir string) string { return filepath.Join(dir, "fairlead-agent") }

// prepare makes this process's namespaces look like a node: a bpffs, an uplink with an address.
func prepare() error {
	for _, step := range []func() error{
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
		func() error { return os.Mkdir(bpffs(), 0o755) },
		func() error { return unix.Mount("bpf", bpffs(), "bpf", 0, "") },
		func() error { return unix.Mount("sysfs", "/sys", "sysfs", 0, "") },
		func() error { return ip("link", "set", "lo", "up") },
		func() error { return ip("link", "add", "up0", "type", "veth", "peer", "name", "up1") },
		// Link-local addresses would come and settle while a test compares what is there.
		func() error { return ip("link", "set", "up0", "addrgenmode", "none") },
		func() error { return ip("link", "set", "up1", "addrgenmode", "none") },
		func() error { return ip("link", "set", "up0", "up") },
		func() error { return ip("link", "set", "up1", "up") },
		func() error { return ip("addr", "add", "192.0.2.1/24", "dev", "up0") },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func bpffs() string { return filepath.Join(os.Getenv(inside), "bpf") }

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %v: %w: %s", args, err, out)
	}
	return nil
}
