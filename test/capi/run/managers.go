// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/capi"
	"github.com/fairlead-io/fairlead/test/lab/pki"
)

// Setup says where managers are installed and run.
type Setup struct {
	Source capi.Source
	// Client and Kubeconfig, a file, are of the API server, which must reach 127.0.0.1.
	Client     client.Client
	Kubeconfig string
	// Dir takes logs and certificates.
	Dir string
	// Workers is as in Options.
	Workers int
}

// Managers are some that run.
type Managers struct {
	All []*Manager
	// Authority signs certificates that the API server and the managers may be shown.
	Authority *pki.Authority
	docker    *docker
}

// Up installs providers, starts their managers and waits until all are ready. Without an error,
// Stop them in the end.
func Up(ctx context.Context, s Setup, providers ...capi.Provider) (*Managers, error) {
	authority, err := pki.LoadAuthority(s.Dir, "ca")
	if err != nil {
		return nil, err
	}
	if _, err := authority.Issue(s.Dir, "tls", pki.Request{CommonName: "cluster-api", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}); err != nil {
		return nil, err
	}
	m := &Managers{Authority: authority}
	if m.docker, err = startDocker(); err != nil {
		return nil, err
	}
	if err := m.up(ctx, s, providers); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	return m, nil
}

func (m *Managers) up(ctx context.Context, s Setup, providers []capi.Provider) error {
	ports, err := freePorts(2 * len(providers))
	if err != nil {
		return err
	}
	// All kinds first: a manager watches those of others, and ends when one of its own is away.
	for i, p := range providers {
		config, err := s.Source.Config(ctx, p)
		if err != nil {
			return err
		}
		if err := capi.Install(ctx, s.Client, capi.Installation{
			Name: p.Name, Config: config, Webhooks: "https://127.0.0.1:" + strconv.Itoa(ports[2*i]), CA: m.Authority.Cert,
		}); err != nil {
			return err
		}
	}
	for i, p := range providers {
		program, err := s.Source.Program(ctx, p)
		if err != nil {
			return err
		}
		one, err := Start(Options{
			Provider: p, Program: program, Kubeconfig: s.Kubeconfig, Webhooks: ports[2*i], Health: ports[2*i+1],
			Certificates: s.Dir, Logs: s.Dir, Workers: s.Workers,
			Env: []string{"POD_IP=127.0.0.1", m.docker.env()}, // for the dev provider
		})
		if err != nil {
			return err
		}
		m.All = append(m.All, one)
	}
	for _, one := range m.All {
		if err := one.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Log is the file of a provider's log.
func (s Setup) Log(p capi.Provider) string { return filepath.Join(s.Dir, p.Name+".log") }

// Stop ends all of them. An error is that one had ended before.
func (m *Managers) Stop() error {
	var errs []error
	for _, one := range m.All {
		errs = append(errs, one.Stop())
	}
	return errors.Join(append(errs, m.docker.stop())...)
}

// freePorts are ports of 127.0.0.1 that nobody has; another program may take one before it is used.
func freePorts(n int) ([]int, error) {
	var out []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() //nolint:errcheck // it was only asked for its port
		addr, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			return nil, fmt.Errorf("a TCP listener is at a %T", l.Addr())
		}
		out = append(out, addr.Port)
	}
	return out, nil
}
