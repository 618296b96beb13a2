// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-io/fairlead/test/lab/plan"
)

// OperatorProcess is an operator that runs as a process in the network of the hub instead of
// in a pod, so that it can be killed at any moment and started again at once.
type OperatorProcess struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// StartOperator starts the operator of this checkout (bin/fairlead) for the hub. Its log
// goes to log, charts is its folder of charts.
func (l *Lab) StartOperator(log io.Writer, charts string, args ...string) (*OperatorProcess, error) {
	hub, err := l.plan.Cluster(Hub)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := l.inLab(hub)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("ip", append([]string{
		"netns", "exec", hub.ControlPlane.Netns, l.Path("bin", "fairlead"),
		"operator", "--health-address=0", "--metrics-address=0", "--log-format=text", "--chart-dir=" + charts,
		"--reconnect-interval=2s", "--leader-election-namespace=" + OperatorNamespace,
	}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the operator: %w", err)
	}
	p := &OperatorProcess{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // it is killed
		close(p.done)
	}()
	return p, nil
}

// inLab writes a kubeconfig by which a cluster is reached from inside of the lab.
func (l *Lab) inLab(c plan.Cluster) (string, error) {
	cfg, err := clientcmd.LoadFromFile(l.plan.Kubeconfig(c.Name))
	if err != nil {
		return "", err
	}
	for _, cluster := range cfg.Clusters {
		cluster.Server = "https://" + net.JoinHostPort(c.ControlPlane.IPv4.String(), strconv.Itoa(plan.APIPort))
	}
	path := filepath.Join(l.plan.Dir, "kubeconfig", c.Name+"-in-lab.yaml")
	return path, clientcmd.WriteToFile(*cfg, path)
}

// Kill ends the operator at once, in whatever it does.
func (p *OperatorProcess) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// Ended is closed when the operator has ended.
func (p *OperatorProcess) Ended() <-chan struct{} { return p.done }

// ApplyOperatorCRDs applies the kinds that the operator serves on the hub.
func (l *Lab) ApplyOperatorCRDs(ctx context.Context) error {
	c, err := l.Client(Hub)
	if err != nil {
		return err
	}
	_, err = l.applyOperatorCRDs(ctx, c)
	return err
}
