// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/fairlead-io/fairlead/test/kernelmatrix/report"
)

// machine is a virtual machine that boots a kernel and ends by itself.
type machine struct {
	kernel, initramfs string
	log               string // the console goes there
	limit             time.Duration
}

// run boots the machine, prints what it reports, and returns nil if it says that
// everything passed.
func (m machine) run(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	log, err := os.Create(m.log)
	if err != nil {
		return err
	}
	defer log.Close()
	// Emulated, so that it runs within a virtual machine as well. It has no network.
	cmd := exec.CommandContext(limited, "qemu-system-x86_64",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024",
		"-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-nic", "none",
		"-kernel", m.kernel, "-initrd", m.initramfs,
		"-append", "console=ttyS0 quiet panic=-1 rdinit=/init")
	cmd.Stderr = log
	console, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("virtual machine: %w", err)
	}
	last, err := follow(console, log, os.Stdout)
	err = errors.Join(err, cmd.Wait())
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return fmt.Errorf("it was not done in %s, and last said %q: its console is in %s", m.limit, last, m.log)
	case err != nil:
		return fmt.Errorf("virtual machine: %w: its console is in %s", err, m.log)
	case last == report.Failed:
		return fmt.Errorf("something failed: its console is in %s", m.log)
	case last != report.Passed:
		return fmt.Errorf("it ended before it was done, and last said %q: its console is in %s", last, m.log)
	}
	return nil
}

// follow copies a console to the log and its report to the reader, and returns the last
// line of the report. Of tests it shows how each ended, of what failed everything.
func follow(console io.Reader, log, reader io.Writer) (last string, err error) {
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, 1<<20)
	var unsaid []string // since the last report line
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if _, err := fmt.Fprintln(log, line); err != nil {
			return last, err
		}
		said, ok := strings.CutPrefix(line, report.Mark)
		if !ok {
			unsaid = append(unsaid, line)
			continue
		}
		last = said
		for _, one := range unsaid {
			if strings.HasSuffix(said, "FAILED") || said == report.Failed || isTestResult(one) {
				fmt.Fprintln(reader, "    "+one)
			}
		}
		unsaid = nil
		fmt.Fprintln(reader, said)
	}
	return last, lines.Err()
}

// isTestResult picks the lines in which go test's verbose output says how a test ended.
func isTestResult(line string) bool {
	return strings.HasPrefix(strings.TrimSpace(line), "--- ")
}
