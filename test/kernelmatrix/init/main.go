// SPDX-License-Identifier: Apache-2.0

// Command init is the first program of a virtual machine of the kernel matrix: it loads the
// modules that the datapath needs, shows every program to the verifier, runs those of the
// datapath's own tests that are named in the initramfs, and switches the machine off. What
// it has to say begins with report.Mark; the last line is report.Passed or report.Failed.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/datapath/link"
	"github.com/fairlead-io/fairlead/test/kernelmatrix/report"
)

// checksArgument makes the program its own child, which checks: libraries look at /proc as
// they start, and it is mounted by then.
const checksArgument = "checks"

func main() {
	switch {
	case os.Getpid() == 1:
		first()
	case len(os.Args) == 2 && os.Args[1] == checksArgument:
		if failed := checks(); failed > 0 {
			os.Exit(1)
		}
	default:
		fmt.Fprintln(os.Stderr, "init: is the first program of a virtual machine and does nothing elsewhere: use `make kernel-matrix`")
		os.Exit(2)
	}
}

// first makes the machine usable, has it checked, and switches it off.
func first() {
	err := errors.Join(mountAll(), loadModules())
	if err == nil {
		cmd := exec.Command("/proc/self/exe", checksArgument)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		err = cmd.Run()
	}
	if err != nil {
		fmt.Println(err)
		say("%s", report.Failed)
	} else {
		say("%s", report.Passed)
	}
	unix.Sync()
	// It returns only if the machine cannot be switched off; the kernel then panics as its
	// first program ends, which ends the machine too.
	fmt.Println(unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}

func say(format string, args ...any) {
	fmt.Println(report.Mark + fmt.Sprintf(format, args...))
}

// checks returns how many things failed.
func checks() (failed int) {
	check := func(what string, err error) {
		verdict := "ok"
		if err != nil {
			failed++
			verdict = "FAILED"
			fmt.Printf("%s: %+v\n", what, err) // of a verifier's error, its whole log
		}
		say("%-48s %s", what, verdict)
	}
	check("probe of the datapath", datapath.Probe(datapath.Options{}))
	check(attachments())
	verifyAll(check)
	tests, err := filepath.Glob("/tests/*")
	check(fmt.Sprintf("%d test binaries", len(tests)), err)
	for _, binary := range tests {
		check("tests of "+filepath.Base(binary), runTests(binary))
	}
	return failed
}

func mountAll() error {
	var errs []error
	for _, m := range [][2]string{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"},
		{"bpf", "/sys/fs/bpf"}, {"cgroup2", "/sys/fs/cgroup"},
	} {
		errs = append(errs, os.MkdirAll(m[1], 0o755))
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, fmt.Errorf("mount %s: %w", m[1], err))
		}
	}
	return errors.Join(errs...)
}

// loadModules loads those of the initramfs, which are in the order of their names.
func loadModules() error {
	modules, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	slices.Sort(modules)
	for _, path := range modules {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("module %s: %w", path, err)
		}
	}
	return nil
}

// attachments says by which way programs are attached: tcx came with Linux 6.6.
func attachments() (string, error) {
	k, err := running()
	if err != nil {
		return "attachments", err
	}
	want := link.Clsact
	if k.has(6, 6) {
		want = link.TCX
	}
	way, err := link.ChosenWay()
	if err == nil && way != want {
		err = fmt.Errorf("kernel %s: %s is chosen, want %s", k.release, way, want)
	}
	return fmt.Sprintf("attachments by %s on %s", way, k.release), err
}

// kernel is the one that runs.
type kernel struct {
	release      string
	major, minor int
}

func running() (kernel, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return kernel{}, err
	}
	k := kernel{release: unix.ByteSliceToString(u.Release[:])}
	if _, err := fmt.Sscanf(k.release, "%d.%d", &k.major, &k.minor); err != nil {
		return kernel{}, fmt.Errorf("release %s: %w", k.release, err)
	}
	return k, nil
}

// has tells whether the kernel is of this version or newer.
func (k kernel) has(major, minor int) bool {
	return k.major > major || k.major == major && k.minor >= minor
}

// runTests runs the tests of a binary that are named in a file beside it, and says which
// of them did not pass or are not there.
func runTests(binary string) error {
	content, err := os.ReadFile("/run/" + filepath.Base(binary))
	if err != nil {
		return err
	}
	pattern := string(content)
	var out bytes.Buffer
	cmd := exec.Command(binary, "-test.v", "-test.count=1", "-test.timeout=30m", "-test.run="+pattern)
	cmd.Stdout, cmd.Stderr, cmd.Dir = io.MultiWriter(os.Stdout, &out), os.Stderr, "/tmp"
	if err := cmd.Run(); err != nil {
		return err
	}
	names, _, _ := strings.Cut(strings.TrimPrefix(pattern, "^("), ")$")
	for name := range strings.SplitSeq(names, "|") {
		if !strings.Contains(out.String(), "\n--- PASS: "+name+" (") {
			return fmt.Errorf("%s has no test %s that passes", binary, name)
		}
	}
	return nil
}
