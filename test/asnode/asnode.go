// SPDX-License-Identifier: Apache-2.0

// Package asnode runs the tests of a package in a network and mount namespace that looks like a
// node, beside a program of Fairlead's that it builds for them.
package asnode

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

// inside marks the process that runs in the namespaces, and names the folder of it all.
const inside = "FAIRLEAD_TEST_AS_NODE"

// Program is where a program that Run built is.
func Program(name string) string { return filepath.Join(os.Getenv(inside), name) }

// BPFFS is where the namespaces' BPF file system is mounted.
func BPFFS() string { return filepath.Join(os.Getenv(inside), "bpf") }

// Run is a package's TestMain: it builds a program of cmd/, and runs the tests in namespaces that
// end with them. It needs root and says so when it has not. The result is the exit code.
func Run(m *testing.M, program string) int {
	if os.Getenv(inside) != "" {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "prepare the namespaces:", err)
			return 1
		}
		return m.Run()
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests make network namespaces: run them as root (make test-bpf)")
		return 1
	}
	return reexec(program)
}

// reexec runs this test binary again in namespaces of its own.
func reexec(program string) int {
	dir, err := os.MkdirTemp("", "fairlead-node-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, program), "../../cmd/"+program)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build %s: %v\n%s", program, err, out)
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

// prepare makes this process's namespaces look like a node: a bpffs, an empty /run/netns, an
// uplink with addresses of both families.
func prepare() error {
	for _, step := range []func() error{
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
		func() error { return os.Mkdir(BPFFS(), 0o755) },
		func() error { return unix.Mount("bpf", BPFFS(), "bpf", 0, "") },
		func() error { return os.MkdirAll("/run/netns", 0o755) },
		func() error { return unix.Mount("tmpfs", "/run/netns", "tmpfs", 0, "") },
		func() error { return unix.Mount("sysfs", "/sys", "sysfs", 0, "") },
		func() error { return IP("link", "set", "lo", "up") },
		func() error { return IP("link", "add", "up0", "type", "veth", "peer", "name", "up1") },
		// Link-local addresses would come and settle while a test compares what is there.
		func() error { return IP("link", "set", "up0", "addrgenmode", "none") },
		func() error { return IP("link", "set", "up1", "addrgenmode", "none") },
		func() error { return IP("link", "set", "up0", "up") },
		func() error { return IP("link", "set", "up1", "up") },
		func() error { return IP("addr", "add", "192.0.2.1/24", "dev", "up0") },
		func() error { return IP("addr", "add", "2001:db8::1/64", "dev", "up0", "nodad") },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// IP runs ip(8). The error has what it said.
func IP(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %v: %w: %s", args, err, out)
	}
	return nil
}
