// SPDX-License-Identifier: Apache-2.0

// Package process runs the programs that are measured, each in a network namespace.
//
// It must not know what they are.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/netns"
)

// Process is a running program.
type Process struct {
	name  string
	cmd   *exec.Cmd
	said  bytes.Buffer // to be read after ended
	ended chan struct{}
}

// Start runs a program in a network namespace until Stop. It is killed when whoever started it dies.
func Start(in *netns.NS, cmd *exec.Cmd) (*Process, error) {
	p := &Process{name: filepath.Base(cmd.Path), cmd: cmd, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: a process dies with the thread that started it
		defer close(p.ended)
		err := unix.Setns(in.FD(), unix.CLONE_NEWNET)
		if err == nil {
			err = p.cmd.Start()
		}
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // what it said is kept
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	return p, nil
}

// Stop ends the program and waits for it.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	<-p.ended
}

// Kill ends the program as a crash would, and waits for it.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.ended
}

// ResidentMiB is how much memory the program has in use.
func (p *Process) ResidentMiB() (float64, error) {
	file := fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, fmt.Errorf("memory of %s: %w", p.name, err)
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("memory of %s: %s has no VmRSS", p.name, file)
}

// Running returns an error with the last that the program said when it ended by itself.
func (p *Process) Running() error {
	select {
	case <-p.ended:
		const tail = 1500
		b := p.said.Bytes()
		return errors.New(p.name + " ended: " + string(b[max(0, len(b)-tail):]))
	default:
		return nil
	}
}
