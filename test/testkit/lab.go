// SPDX-License-Identifier: Apache-2.0

// Package testkit is what the demo and the end-to-end tests share: the running
// lab, clients of its clusters, and Fairlead installed on it as a user would.
package testkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-io/fairlead/test/lab/births"
	"github.com/fairlead-io/fairlead/test/lab/plan"
)

// Hub is the lab's management cluster.
const Hub = "hub"

// Lab is a lab of this checkout.
type Lab struct {
	root string // of the checkout
	plan plan.Plan
	out  io.Writer
}

// Open finds the checkout around the working folder. What the lab's program
// prints goes to out.
func Open(out io.Writer) (*Lab, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "charts", "cni", "Chart.yaml")); err == nil {
			break
		}
		if filepath.Dir(root) == root {
			return nil, errors.New("run this inside of a checkout of Fairlead")
		}
		root = filepath.Dir(root)
	}
	settings, err := plan.FromEnv(os.Getenv, root)
	if err != nil {
		return nil, err
	}
	return &Lab{root: root, plan: plan.New(settings), out: out}, nil
}

// OpenRunning is Open for the lab that runs, whatever the settings are now.
func OpenRunning(out io.Writer) (*Lab, error) {
	l, err := Open(out)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(l.plan.Dir, "lab.json"))
	if err != nil {
		return nil, fmt.Errorf("there is no lab in %s: start it with `make lab-up` or `make demo`: %w", l.plan.Dir, err)
	}
	return l, json.Unmarshal(raw, &l.plan)
}

// Plan returns what the lab consists of now: clusters, nodes, addresses.
func (l *Lab) Plan() plan.Plan {
	born, err := births.Load(l.plan.Dir)
	if err != nil {
		return l.plan // The lab's program, which every test runs, says what is wrong with the file.
	}
	return l.plan.With(born)
}

// Path returns a path inside of the checkout.
func (l *Lab) Path(elem ...string) string {
	return filepath.Join(append([]string{l.root}, elem...)...)
}

// Clusters returns the workload clusters' names.
func (l *Lab) Clusters() []string {
	var names []string
	for _, c := range l.Plan().Clusters {
		if !c.Hub {
			names = append(names, c.Name)
		}
	}
	return names
}

func (l *Lab) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, l.Path("bin", "lab"), args...)
	cmd.Dir = l.root
	cmd.Env = append(os.Environ(), "LAB_DIR="+l.plan.Dir)
	return cmd
}

// Run runs the lab's program, its output shown.
func (l *Lab) Run(ctx context.Context, args ...string) error {
	cmd := l.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = l.out, l.out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("lab %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// Output runs the lab's program and returns what it prints.
func (l *Lab) Output(ctx context.Context, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := l.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("lab %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Exec runs a command on a node and returns what it prints.
func (l *Lab) Exec(ctx context.Context, node string, command ...string) (string, error) {
	return l.Output(ctx, append([]string{"exec", node, "--"}, command...)...)
}

// REST returns the connection to a cluster's API server.
func (l *Lab) REST(cluster string) (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", l.plan.Kubeconfig(cluster))
	if err != nil {
		return nil, err
	}
	cfg.QPS, cfg.Burst = 100, 200
	cfg.WarningHandler = rest.NoWarnings{}
	return cfg, nil
}
