// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fairlead-io/fairlead/test/capi"
)

const (
	// workers is how many objects of a kind a manager works on at a time when nobody says. Its
	// own defaults, 10 to 100, have two cores answer conflicts more than anything else.
	workers = 4
	// readyPoll is how often a manager is asked whether it is ready.
	readyPoll = 200 * time.Millisecond
	// lastWords is how much of a log is shown of a manager that ended, in bytes.
	lastWords = 2000
	// stopWithin is how long a manager that is told to end may take.
	stopWithin = 20 * time.Second
)

// Options say how a manager is started.
type Options struct {
	Provider capi.Provider
	// Program is the manager (capi.Source.Program), Kubeconfig a file.
	Program, Kubeconfig string
	// Webhooks and Health are ports of 127.0.0.1.
	Webhooks, Health int
	// Certificates is a folder with tls.crt and tls.key, of the webhooks.
	Certificates string
	// Logs is the folder of its log, which is called as the provider.
	Logs string
	// Workers is how many objects of a kind it works on at a time, 4 when it is 0.
	Workers int
	// Env is added to the environment, Args to the arguments.
	Env, Args []string
}

// Manager is a running manager.
type Manager struct {
	Name string

	cmd    *exec.Cmd
	health string
	log    *os.File
	ended  chan struct{}
	// how it ended, to be read after ended.
	how error
}

// Start starts a manager. It is killed when whoever started it dies.
func Start(o Options) (*Manager, error) {
	log, err := os.Create(filepath.Join(o.Logs, o.Provider.Name+".log"))
	if err != nil {
		return nil, err
	}
	m := &Manager{
		Name: o.Provider.Name, log: log, ended: make(chan struct{}),
		health: "127.0.0.1:" + strconv.Itoa(o.Health), cmd: exec.Command(o.Program, o.args()...),
	}
	m.cmd.Env = append(append(os.Environ(), "KUBECONFIG="+o.Kubeconfig), o.Env...)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: a process dies with the thread that started it
		defer close(m.ended)
		err := m.cmd.Start()
		started <- err
		if err == nil {
			m.how = m.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", m.Name, err), log.Close())
	}
	return m, nil
}

func (o Options) args() []string {
	n := o.Workers
	if n == 0 {
		n = workers
	}
	args := []string{
		"--webhook-port=" + strconv.Itoa(o.Webhooks), "--webhook-cert-dir=" + o.Certificates,
		"--health-addr=127.0.0.1:" + strconv.Itoa(o.Health), "--diagnostics-address=0",
		"--feature-gates=" + o.Provider.FeatureGates,
	}
	for _, kind := range o.Provider.Workers {
		args = append(args, fmt.Sprintf("--%s-concurrency=%d", kind, n))
	}
	return append(args, o.Args...)
}

// Ready waits until the manager's caches are filled and its webhooks are served. A manager that
// ends meanwhile is an error with its last words.
func (m *Manager) Ready(ctx context.Context) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for !m.ready(ctx) {
		select {
		case <-m.ended:
			return fmt.Errorf("%s ended: %w\n%s", m.Name, m.how, m.LastWords())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", m.Name, context.Cause(ctx), m.LastWords())
		case <-tick.C:
		}
	}
	return nil
}

func (m *Manager) ready(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.health+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // only the code counts
	return resp.StatusCode == http.StatusOK
}

// Stop ends the manager and waits for it. An error is that it had ended before, or would not.
func (m *Manager) Stop() error {
	select {
	case <-m.ended:
		return errors.Join(fmt.Errorf("%s had ended: %w\n%s", m.Name, m.how, m.LastWords()), m.log.Close())
	default:
	}
	err := m.cmd.Process.Signal(syscall.SIGTERM)
	late := time.NewTimer(stopWithin)
	defer late.Stop()
	select {
	case <-m.ended:
	case <-late.C:
		err = errors.Join(fmt.Errorf("%s did not end within %s of SIGTERM: killed", m.Name, stopWithin), m.cmd.Process.Kill())
		<-m.ended
	}
	return errors.Join(err, m.log.Close())
}

// Signal sends the manager a signal: SIGSTOP has it hang, SIGKILL crash.
func (m *Manager) Signal(s os.Signal) error { return m.cmd.Process.Signal(s) }

// Ended is closed when the manager has ended.
func (m *Manager) Ended() <-chan struct{} { return m.ended }

// LastWords is the end of the manager's log.
func (m *Manager) LastWords() string {
	raw, err := os.ReadFile(m.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(raw[max(0, len(raw)-lastWords):])
}

// ResidentMiB is the memory that the manager has in use.
func (m *Manager) ResidentMiB() (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("memory of %s: %w", m.Name, err)
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("memory of %s: /proc/PID/status has no VmRSS", m.Name)
}
