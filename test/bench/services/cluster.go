// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/fairlead/test/bench/process"
	"github.com/fairlead-io/fairlead/test/bench/topo"
	"github.com/fairlead-io/fairlead/test/lab/pki"
)

// serviceRange has room for the addresses of 10,000 Services and more.
const serviceRange = "10.96.0.0/12"

// token is that of every client: nobody but this process and its children can reach the
// API server, which lives as long as they do.
const token = "bench"

// upWithin is what a control plane needs at most, on a busy machine.
const upWithin = 90 * time.Second

// cluster is an etcd and a kube-apiserver on a machine of the underlay.
type cluster struct {
	dir, server string
	machine     *topo.Machine
	client      *kubernetes.Clientset
	processes   []*process.Process
}

func startCluster(ctx context.Context, m *topo.Machine, dir, bin string) (*cluster, error) {
	c := &cluster{dir: dir, machine: m, server: fmt.Sprintf("https://%s", net.JoinHostPort(m.Addresses[0].String(), "6443"))}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := pki.LoadSigningKey(dir, "sa"); err != nil {
		return nil, err
	}
	f := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(f("tokens.csv"), []byte(token+",bench,bench,system:masters\n"), 0o600); err != nil {
		return nil, err
	}
	for _, argv := range [][]string{
		{
			"etcd", "--data-dir=" + f("etcd"), "--unsafe-no-fsync", "--log-level=warn",
			"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379", "--listen-peer-urls=http://127.0.0.1:2380",
		},
		{
			"kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--advertise-address=" + m.Addresses[0].String(),
			"--secure-port=6443", "--cert-dir=" + f("tls"), "--token-auth-file=" + f("tokens.csv"), "--authorization-mode=AlwaysAllow",
			"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + f("sa.pub"),
			"--service-account-signing-key-file=" + f("sa.key"), "--service-cluster-ip-range=" + serviceRange,
			"--enable-priority-and-fairness=false", "--profiling=false",
		},
	} {
		p, err := process.Start(m.NS, exec.Command(filepath.Join(bin, argv[0]), argv[1:]...))
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.processes = append(c.processes, p)
	}
	var err error
	if c.client, err = kubernetes.NewForConfig(c.config(m)); err != nil {
		return nil, errors.Join(err, c.close())
	}
	if err := c.waitReady(ctx); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, c.writeKubeconfig()
}

// kubeconfig is the file by which programs find the API server.
func (c *cluster) kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

func (c *cluster) writeKubeconfig() error {
	return os.WriteFile(c.kubeconfig(), fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: bench, cluster: {server: "%s", insecure-skip-tls-verify: true}}]
users: [{name: bench, user: {token: %s}}]
contexts: [{name: bench, context: {cluster: bench, user: bench}}]
current-context: bench
`, c.server, token), 0o600)
}

// config is a client's whose connections start on the machine.
func (c *cluster) config(m *topo.Machine) *rest.Config {
	cfg := &rest.Config{Host: c.server, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1}
	cfg.ContentType = "application/vnd.kubernetes.protobuf"
	cfg.Dial = func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = m.Do(func() error {
			var d net.Dialer
			conn, err = d.DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
	return cfg
}

// waitReady waits until the API server says that it is ready.
func (c *cluster) waitReady(ctx context.Context) error {
	err := poll(ctx, upWithin, 20*time.Millisecond, c.running, func() error {
		_, err := c.client.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	return nil
}

func (c *cluster) running() error {
	for _, p := range c.processes {
		if err := p.Running(); err != nil {
			return err
		}
	}
	return nil
}

// close ends the programs, the API server before what it stores in.
func (c *cluster) close() error {
	for i := len(c.processes) - 1; i >= 0; i-- {
		c.processes[i].Stop()
	}
	c.processes = nil
	return nil
}

// poll tries a condition until it holds. It gives up when the time is over, or when what it
// depends on has failed, and says why the last try did not succeed.
func poll(ctx context.Context, within, every time.Duration, alive, holds func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := holds()
		if err == nil {
			return nil
		}
		if dead := alive(); dead != nil {
			return dead
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %v: %w", within, err)
		case <-tick.C:
		}
	}
}
