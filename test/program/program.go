// SPDX-License-Identifier: Apache-2.0

package program

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

const (
	// lastWords is how much of its log is shown of a program that ended, in bytes.
	lastWords = 4000
	// stopWithin is how long a program that is told to end may take.
	stopWithin = 30 * time.Second
)

// Program is a running program.
type Program struct {
	Name string

	cmd   *exec.Cmd
	log   string
	ended chan struct{}
	// how it ended, to be read after ended.
	how error
}

// Start runs a command until Stop; name is for people. It is killed when whoever started it dies.
// What it says is appended to the file log.
func Start(name, log string, cmd *exec.Cmd) (*Program, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // the program has it
	p := &Program{Name: name, cmd: cmd, log: log, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = f, f
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: a process dies with the thread that started it
		defer close(p.ended)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.how = p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// Signal sends the program a signal: SIGSTOP has it hang, SIGKILL crash.
func (p *Program) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Ended is closed when the program has ended.
func (p *Program) Ended() <-chan struct{} { return p.ended }

// Stop tells the program to end and waits for it. An error is that it had ended by itself, or would not.
func (p *Program) Stop() error {
	select {
	case <-p.ended:
		return p.End()
	default:
	}
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	late := time.NewTimer(stopWithin)
	defer late.Stop()
	select {
	case <-p.ended:
		return nil
	case <-late.C:
		err := p.Signal(syscall.SIGKILL)
		<-p.ended
		return errors.Join(fmt.Errorf("%s did not end within %s of SIGTERM: killed", p.Name, stopWithin), err)
	}
}

// End is an error that says how a program ended, with its last words. Call it when it has.
func (p *Program) End() error {
	return fmt.Errorf("%s ended: %s\n%s", p.Name, p.cmd.ProcessState, p.LastWords())
}

// LastWords is the end of the program's log.
func (p *Program) LastWords() string {
	raw, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(raw[max(0, len(raw)-lastWords):])
}
