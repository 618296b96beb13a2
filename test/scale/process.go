// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// ticks is the unit of CPU times in /proc, per second (USER_HZ).
const ticks = 100

// goMemory is what the operator gives the garbage collector in a container of 1 GiB
// (cmd/fairlead/operatorrun).
const goMemory = "819MiB"

// operator is the running program.
type operator struct {
	cmd   *exec.Cmd
	log   *os.File
	ended chan error
	// how it ended, once it was stopped.
	how error
}

// startOperator runs the operator against a management cluster. It is killed when whoever
// started it dies. What it says goes to the file log.
func startOperator(program, kubeconfig, log string, args ...string) (*operator, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	o := &operator{cmd: exec.Command(program, append([]string{"operator", "--leader-election=false", "--health-address=0", "--metrics-address=0"}, args...)...), log: f, ended: make(chan error, 1)}
	o.cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "GOMEMLIMIT="+goMemory)
	o.cmd.Stdout, o.cmd.Stderr = f, f
	o.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: a process dies with the thread that started it
		err := o.cmd.Start()
		started <- err
		if err == nil {
			o.ended <- o.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return o, nil
}

// stop ends the program and waits for it.
func (o *operator) stop() error {
	err := o.cmd.Process.Signal(syscall.SIGTERM)
	o.how = <-o.ended
	return errors.Join(err, o.log.Close())
}

// cpu is the time that the program has used, in seconds.
func (o *operator) cpu() (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", o.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("/proc/PID/stat is short")
	}
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticks, errors.Join(err1, err2)
}

// peak is the most memory that the program has had in use, in MiB; resident is what it has now.
func (o *operator) peak() (float64, error)     { return o.memory("VmHWM:") }
func (o *operator) resident() (float64, error) { return o.memory("VmRSS:") }

func (o *operator) memory(field string) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", o.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, field); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/PID/status has no %s", field)
}
