// SPDX-License-Identifier: Apache-2.0

// Package cni drives the real plugin as a container runtime does (libcni), against
// the real CNI server, endpoints and datapath, in a network and mount namespace
// of its own. It needs root and says so when it has not.
package cni

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

// inside marks the process that runs in the namespaces.
const inside = "FAIRLEAD_TEST_CNI_INSIDE"

func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "prepare the namespaces:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "test/cni makes network namespaces: run it as root (make test-bpf)")
		os.Exit(1)
	}
	os.Exit(reexec())
}

// reexec runs this test binary again in namespaces of its own, which end with it.
func reexec() int {
	dir, err := os.MkdirTemp("", "fairlead-cni-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	plugin := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "fairlead-cni"), "../../cmd/fairlead-cni")
	plugin.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := plugin.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the plugin: %v\n%s", err, out)
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

// prepare makes this process's namespaces look like a node: a bpffs, an empty
// /run/netns, an uplink with addresses of both families.
func prepare() error {
	dir := os.Getenv(inside)
	bpffs := filepath.Join(dir, "bpf")
	for _, step := range []func() error{
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
		func() error { return os.Mkdir(bpffs, 0o755) },
		func() error { return unix.Mount("bpf", bpffs, "bpf", 0, "") },
		func() error { return os.MkdirAll("/run/netns", 0o755) },
		func() error { return unix.Mount("tmpfs", "/run/netns", "tmpfs", 0, "") },
		func() error { return unix.Mount("sysfs", "/sys", "sysfs", 0, "") },
		func() error { return ip("link", "set", "lo", "up") },
		func() error { return ip("link", "add", "up0", "type", "veth", "peer", "name", "up1") },
		// Link-local addresses would come and settle while a test compares what is there.
		func() error { return ip("link", "set", "up0", "addrgenmode", "none") },
		func() error { return ip("link", "set", "up1", "addrgenmode", "none") },
		func() error { return ip("link", "set", "up0", "up") },
		func() error { return ip("link", "set", "up1", "up") },
		func() error { return ip("addr", "add", "192.0.2.1/24", "dev", "up0") },
		func() error { return ip("addr", "add", "2001:db8::1/64", "dev", "up0", "nodad") },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %v: %w: %s", args, err, out)
	}
	return nil
}
