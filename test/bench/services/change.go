// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

const (
	// changing is the Service whose endpoint moves to and fro. It is not the measured one.
	changing = 0
	// proxyPause is the least wait before a change: longer than kube-proxy's minSyncPeriod
	// of 1 s, which would be measured otherwise.
	proxyPause = 1100 * time.Millisecond
	// followWithin is what traffic may take to follow a change.
	followWithin = 2 * time.Minute
	// answerWithin is what one of its connections may take.
	answerWithin = 100 * time.Millisecond
)

// homes are the ports of the server between which the endpoint moves.
var homes = [2]uint16{9001, 9002}

// Changes moves a Service's endpoint n times on each of kube-proxy's nodes, one node after
// the other, and returns for each how long it took from before the EndpointSlice was written
// until a new connection went to the new place.
func (b *Bench) Changes(ctx context.Context, n int) (map[string][]time.Duration, error) {
	out := map[string][]time.Duration{}
	for _, p := range b.proxies {
		took, err := b.cluster.changes(ctx, follower{p.Client, p.Server, p.Server4, proxyPause, p.process.Running}, n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Subject, err)
		}
		b.settings.Say("traffic of %s has followed %d changes", p.Subject, n)
		out[p.Subject] = took
	}
	return out, nil
}

// follower is who is looked at while an endpoint moves.
type follower struct {
	client, server *topo.Space
	at             netip.Addr // the server's
	// pause is the least wait before a change; the longest is twice that. Waits of one
	// length would keep step with whoever collects changes for a while.
	pause time.Duration
	alive func() error
}

func (c *cluster) changes(ctx context.Context, f follower, n int) ([]time.Duration, error) {
	closeAll, err := sayPorts(f.server, f.at)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	var took []time.Duration
	for i := range n + 1 { // the first one only leads there
		if err := pause(ctx, f.pause+rand.N(f.pause)); err != nil {
			return nil, err
		}
		lag, err := c.change(ctx, f, homes[i%2])
		if err != nil {
			return nil, fmt.Errorf("change %d: %w", i+1, err)
		}
		if i > 0 {
			took = append(took, lag)
		}
	}
	return took, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// change moves the endpoint and returns how long traffic took to follow.
func (c *cluster) change(ctx context.Context, f follower, to uint16) (time.Duration, error) {
	begin := time.Now()
	if err := c.move(ctx, f.at, to); err != nil {
		return 0, err
	}
	err := poll(ctx, followWithin, time.Millisecond, f.alive, func() error { return arrives(f.client, vip(changing), to, answerWithin) })
	return time.Since(begin), err
}

// move makes a port of the server the one endpoint of the changing Service.
func (c *cluster) move(ctx context.Context, server netip.Addr, port uint16) error {
	one := slice(changing, 0, []datapath.Backend{{Address: server, Port: port}})
	if _, err := c.client.DiscoveryV1().EndpointSlices(namespace).Update(ctx, one, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("EndpointSlice %s: %w", one.Name, err)
	}
	return nil
}

// sayPorts answers connections to each home with the home's number.
func sayPorts(in *topo.Space, at netip.Addr) (closeAll func(), err error) {
	var all []net.Listener
	closeAll = func() {
		for _, l := range all {
			l.Close() //nolint:errcheck // nobody is waiting
		}
	}
	err = in.Do(func() error {
		for i, port := range homes {
			l, err := net.Listen("tcp4", netip.AddrPortFrom(at, port).String())
			if err != nil {
				return err
			}
			all = append(all, l)
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = conn.Write([]byte{byte(i)}) // the client may be gone
					conn.Close()                       //nolint:errcheck // the same
				}
			}()
		}
		return nil
	})
	if err != nil {
		closeAll()
		return nil, err
	}
	return closeAll, nil
}

// arrives connects to a Service and checks which home answers in time.
func arrives(from *topo.Space, to netip.AddrPort, home uint16, within time.Duration) error {
	return from.Do(func() error {
		conn, err := net.DialTimeout("tcp4", to.String(), within)
		if err != nil {
			return err
		}
		defer conn.Close() //nolint:errcheck // read only
		if tcp, ok := conn.(*net.TCPConn); ok {
			// Closing resets, so that no end keeps the connection in TIME_WAIT.
			if err := tcp.SetLinger(0); err != nil {
				return err
			}
		}
		if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
			return err
		}
		said := make([]byte, 1)
		if _, err := io.ReadFull(conn, said); err != nil {
			return err
		}
		if homes[said[0]] != home {
			return fmt.Errorf("port %d answers, want %d", homes[said[0]], home)
		}
		return nil
	})
}
