// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/fairlead-io/fairlead/test/capi"
	"github.com/fairlead-io/fairlead/test/program"
)

const (
	// workers is how many objects of a kind a manager works on at a time when nobody says. Its
	// own defaults, 10 to 100, have two cores answer conflicts more than anything else.
	workers = 4
	// readyPoll is how often a manager is asked whether it is ready.
	readyPoll = 200 * time.Millisecond
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
	*program.Program
	health string
}

// Start starts a manager. It is killed when whoever started it dies.
func Start(o Options) (*Manager, error) {
	cmd := exec.Command(o.Program, o.args()...)
	cmd.Env = append(append(os.Environ(), "KUBECONFIG="+o.Kubeconfig), o.Env...)
	p, err := program.Start(o.Provider.Name, filepath.Join(o.Logs, o.Provider.Name+".log"), cmd)
	if err != nil {
		return nil, err
	}
	return &Manager{Program: p, health: "127.0.0.1:" + strconv.Itoa(o.Health)}, nil
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
		case <-m.Ended():
			return m.End()
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
