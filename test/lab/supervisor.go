// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/fairlead-io/fairlead/test/lab/atomicfile"
	"github.com/fairlead-io/fairlead/test/lab/kube"
	"github.com/fairlead-io/fairlead/test/lab/pki"
	"github.com/fairlead-io/fairlead/test/lab/plan"
	"github.com/fairlead-io/fairlead/test/lab/supervise"
)

func (l *Lab) supervisorLog() string { return filepath.Join(l.Plan.Dir, "logs", "supervisor.log") }

// ensureSupervisor starts the supervisor unless it runs, and waits until it listens.
func (l *Lab) ensureSupervisor() error {
	if supervise.PID(l.Plan.Dir).Alive() != 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(l.supervisorLog()), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(l.supervisorLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	report, told, err := os.Pipe()
	if err != nil {
		return err
	}
	defer report.Close()
	cmd := exec.Command(l.Program, supervise.Command)
	cmd.Env = append(os.Environ(), "LAB_DIR="+l.Plan.Dir, checkoutVariable+"="+l.Builder.Checkout)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{told}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	told.Close()
	if answer, _ := io.ReadAll(report); string(answer) != "ok" {
		return fmt.Errorf("the supervisor does not start: see %s", log.Name())
	}
	return nil
}

// Supervise is the supervisor's process. It ends when it is told to, or with the lab.
func (l *Lab) Supervise() error {
	report := os.NewFile(3, "report")
	syscall.CloseOnExec(3)
	group := filepath.Join(l.Plan.Cgroup, "supervisor")
	if err := l.layout.Create(group); err != nil {
		return err
	}
	if err := l.layout.Join(group, os.Getpid()); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var beside []func(context.Context, *supervise.Forwards) error
	if l.Plan.CAPI {
		beside = append(beside, l.provide)
	}
	return supervise.Run(ctx, l.Plan, func() error {
		if err := supervise.PID(l.Plan.Dir).Write(os.Getpid()); err != nil {
			return err
		}
		_, err := report.WriteString("ok")
		return errors.Join(err, report.Close())
	}, beside...)
}

// writeKubeconfigs writes the files for people and returns those with in-lab addresses, by cluster.
func (l *Lab) writeKubeconfigs(credentials map[string]kube.Credentials) (map[string][]byte, error) {
	ports, err := supervise.LoadPorts(l.Plan.Dir)
	if err != nil {
		return nil, err
	}
	inside := map[string][]byte{}
	for _, c := range l.Plan.Clusters {
		here, in, err := kubeconfigs(c, credentials[c.Name], ports[c.Name])
		if err != nil {
			return nil, err
		}
		if err := atomicfile.Update(l.Plan.Kubeconfig(c.Name), here, 0o600); err != nil {
			return nil, err
		}
		inside[c.Name] = in
	}
	return inside, nil
}

// kubeconfigs are the one for this host and the one for machines of the lab.
func kubeconfigs(c plan.Cluster, credentials kube.Credentials, port int) (here, inside []byte, err error) {
	here, err = pki.Kubeconfig(c.Name, "admin", fmt.Sprintf("https://127.0.0.1:%d", port), credentials.CA.Cert, credentials.Admin)
	if err != nil {
		return nil, nil, err
	}
	inside, err = pki.Kubeconfig(c.Name, "admin", c.APIURL(), credentials.CA.Cert, credentials.Admin)
	return here, inside, err
}
