// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/fairlead-io/fairlead/test/bench/process"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

// syncWithin is what kube-proxy may take for all Services: minutes for 10,000.
const syncWithin = 10 * time.Minute

// proxy is a node of kube-proxy's.
type proxy struct {
	*topo.Pair
	mode, program, config string
	tools                 string // a folder of programs that are taken instead of the machine's
	machine               *topo.Machine
	process               *process.Process
}

// legacy is the program of all iptables commands by the kernel's older interface. Through
// nf_tables one write of the rules of 10,000 Services takes longer than ten minutes.
const legacy = "xtables-legacy-multi"

// linkTools makes a folder with the iptables commands of the older interface, where the
// machine has them.
func linkTools(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	program, err := exec.LookPath(legacy)
	if err != nil {
		return nil
	}
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, what := range []string{"", "-save", "-restore"} {
			if err := os.Symlink(program, filepath.Join(dir, family+what)); err != nil && !os.IsExist(err) {
				return err
			}
		}
	}
	return nil
}

func newProxy(ctx context.Context, w *topo.World, c *cluster, bin, mode string) (*proxy, error) {
	pair, machine, err := w.RoutedPods()
	if err != nil {
		return nil, err
	}
	pair.Subject, pair.Ports = "kube-proxy-"+mode, ports()
	if err := c.addNode(ctx, machine, machine.PodCIDRs[0]); err != nil {
		return nil, err
	}
	p := &proxy{Pair: pair, mode: mode, program: filepath.Join(bin, "kube-proxy"), machine: machine}
	p.config, p.tools = filepath.Join(c.dir, pair.Subject+".yaml"), filepath.Join(c.dir, "tools")
	return p, errors.Join(p.writeConfig(c), linkTools(p.tools))
}

func (p *proxy) writeConfig(c *cluster) error {
	// The limits of conntrack and the OOM score are the whole host's: zero leaves them alone.
	return os.WriteFile(p.config, fmt.Appendf(nil, `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: %s
hostnameOverride: %s
clusterCIDR: 10.244.0.0/16
clientConnection: {kubeconfig: "%s", qps: 1000, burst: 1000}
conntrack: {maxPerCore: 0, min: 0, tcpCloseWaitTimeout: 0s, tcpEstablishedTimeout: 0s}
oomScoreAdj: 0
`, p.mode, p.machine.Name, c.kubeconfig()), 0o600)
}

// restart starts kube-proxy anew and waits until a Service's address answers. It returns
// how long that took: reading all Services and writing the rules.
func (p *proxy) restart(ctx context.Context, service netip.AddrPort) (time.Duration, error) {
	p.stop()
	echo, err := listenIn(p.Server, netip.AddrPortFrom(p.Server4, firstPort))
	if err != nil {
		return 0, err
	}
	defer echo() //nolint:errcheck // listeners
	begin := time.Now()
	cmd := exec.Command(p.program, "--config="+p.config)
	cmd.Env = append(os.Environ(), "PATH="+p.tools+string(os.PathListSeparator)+os.Getenv("PATH"))
	if p.process, err = process.Start(p.machine.NS, cmd); err != nil {
		return 0, err
	}
	err = poll(ctx, syncWithin, 20*time.Millisecond, p.process.Running, func() error { return reach(p.Client, service) })
	if err != nil {
		return 0, fmt.Errorf("%s: %s: %w", p.Subject, service, err)
	}
	p.Via = service
	return time.Since(begin), nil
}

func (p *proxy) stop() {
	if p.process != nil {
		p.process.Stop()
		p.process = nil
	}
}

// listenIn listens at all ports of a server in a namespace.
func listenIn(in *topo.Space, first netip.AddrPort) (closeAll func() error, err error) {
	var all []net.Listener
	closeAll = func() error {
		var errs []error
		for _, l := range all {
			errs = append(errs, l.Close())
		}
		return errors.Join(errs...)
	}
	err = in.Do(func() error {
		for _, port := range ports() {
			l, err := net.Listen("tcp4", netip.AddrPortFrom(first.Addr(), port).String())
			if err != nil {
				return err
			}
			all = append(all, l)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, closeAll())
	}
	return closeAll, nil
}

// reach connects from a namespace and hangs up.
func reach(from *topo.Space, to netip.AddrPort) error {
	return from.Do(func() error {
		conn, err := net.DialTimeout("tcp4", to.String(), 200*time.Millisecond)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}
