// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead-io/fairlead/internal/probe"
)

// period is the time that a report is about.
const period = time.Second

// Config says where the probes run.
type Config struct {
	// Node that the pod is on, Namespace that it is in.
	Node, Namespace string
	// Addresses of the pod.
	Addresses []netip.Addr
	// Service is an address of the probes' Service; invalid: none is known.
	Service netip.Addr
	// Resolv is the path of the resolver's configuration, which names the cluster's domain.
	Resolv string
	// Peers tells of the other nodes' probes.
	Peers Source
	// Reports is where reports go, one a line.
	Reports io.Writer
	Log     *slog.Logger
}

// Validate says what is missing.
func (c *Config) Validate() error {
	switch {
	case c.Node == "":
		return fmt.Errorf("the node's name is missing: set --node-name or NODE_NAME")
	case c.Namespace == "":
		return fmt.Errorf("the pod's namespace is missing: set --namespace or POD_NAMESPACE")
	case len(c.Addresses) == 0:
		return fmt.Errorf("the pod's addresses are missing: set --addresses or POD_IPS")
	}
	return nil
}

// Run answers other nodes' probes, probes them, and reports until the context ends. The TCP
// port is opened when the first report is written: Started tells by it.
func Run(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, port := range []int{probe.EchoPort, probe.ForbiddenPort} {
		echo, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
		if err != nil {
			return fmt.Errorf("port for datagrams of other nodes' probes: %w", err)
		}
		running.Go(func() { echoDatagrams(ctx, echo) })
	}
	env := c.env()
	failed := make(chan error, 1)
	running.Go(func() {
		if err := c.Peers(ctx, env.roster.set); err != nil {
			failed <- fmt.Errorf("watching the other nodes' probes: %w", err)
			cancel()
		}
	})
	counted := newTally()
	for _, p := range probes() {
		running.Go(func() { p.Run(ctx, env, func(a Attempt) { counted.record(p, a) }) })
	}
	c.Log.Info("probing", "node", c.Node, "addresses", c.Addresses, "service", env.Host)
	opened := sync.OnceValue(func() error { return serve(ctx, &running) })
	if err := c.report(ctx, counted, opened); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func (c *Config) env() *Env {
	return &Env{
		Node: c.Node, Addresses: c.Addresses, Service: c.Service,
		Host:     probe.Name + "." + c.Namespace + ".svc." + domain(c.Resolv) + ".",
		EchoPort: probe.EchoPort, ServicePort: probe.ServicePort, ForbiddenPort: probe.ForbiddenPort,
		// Go's own resolver, so that a name takes as many packets on every build.
		Resolver: &net.Resolver{PreferGo: true},
	}
}

// serve opens the TCP port.
func serve(ctx context.Context, running *sync.WaitGroup) error {
	l, err := net.Listen("tcp", ":"+strconv.Itoa(probe.ServicePort))
	if err != nil {
		return fmt.Errorf("port for connections of other nodes' probes: %w", err)
	}
	running.Go(func() { echoConnections(ctx, l) })
	return nil
}

// report writes a report at the end of each period, and calls written after each.
func (c *Config) report(ctx context.Context, counted *tally, written func() error) error {
	ticks := time.NewTicker(period)
	defer ticks.Stop()
	from := time.Now().UTC()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		to := time.Now().UTC()
		line, err := probe.Report{Node: c.Node, From: from, To: to, Samples: counted.take()}.Encode()
		if err != nil {
			return err
		}
		if _, err := c.Reports.Write(line); err != nil {
			return fmt.Errorf("writing a report: %w", err)
		}
		if err := written(); err != nil {
			return err
		}
		from = to
	}
}

// Started is nil when the program in this pod has written its first report. It asks over the
// pod's own loopback device, so that it is no matter of the network.
func Started(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fate)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort("localhost", strconv.Itoa(probe.ServicePort)))
	if err != nil {
		return fmt.Errorf("the probes have not reported yet: %w", err)
	}
	return conn.Close()
}
