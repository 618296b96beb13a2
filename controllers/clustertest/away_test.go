// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"io"
	"net"
	"net/http"
	"net/url"
	stdsync "sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// gate is a way to the API server that can be closed.
type gate struct {
	target string
	addr   string

	mu    stdsync.Mutex
	open  bool
	l     net.Listener
	conns map[net.Conn]struct{}
	wg    stdsync.WaitGroup
}

func newGate(t *testing.T) *gate {
	u, err := url.Parse(adminConfig.Host)
	target := adminConfig.Host
	if err == nil && u.Host != "" {
		target = u.Host
	}
	g := &gate{target: target, addr: freeAddress(t), conns: map[net.Conn]struct{}{}}
	t.Cleanup(g.shut)
	return g
}

func (g *gate) config() *rest.Config {
	cfg := rest.CopyConfig(controllerCfg)
	cfg.Host = "https://" + g.addr
	return cfg
}

func (g *gate) let(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	g.open, g.l = true, l
	g.mu.Unlock()
	g.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			g.wg.Go(func() { g.pass(in) })
		}
	})
}

func (g *gate) pass(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", g.target)
	if err != nil {
		return
	}
	defer out.Close()
	g.mu.Lock()
	if !g.open {
		g.mu.Unlock()
		return
	}
	g.conns[in], g.conns[out] = struct{}{}, struct{}{}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.conns, in)
		delete(g.conns, out)
	}()
	done := make(chan struct{})
	go func() { defer close(done); _, _ = io.Copy(out, in); out.Close(); in.Close() }()
	_, _ = io.Copy(in, out)
	in.Close()
	out.Close()
	<-done
}

// shut refuses connections and breaks those that are open.
func (g *gate) shut() {
	g.mu.Lock()
	if g.open {
		g.open = false
		g.l.Close()
		for c := range g.conns {
			c.Close()
		}
	}
	g.mu.Unlock()
	g.wg.Wait()
}

func TestAPIServerIsAway(t *testing.T) {
	c := newCluster(t)
	g := newGate(t)
	ctl := c.replica("ctl-1", "127.0.0.1", g.config())
	ctl.until("/healthz", http.StatusOK)
	ctl.until("/readyz", http.StatusServiceUnavailable)
	node(t, "n1", "192.168.1.1", "10.0.1.0/24")
	a := c.agent("n1", nil, ctl)
	eventually(t, "the agent is told that the API server is away", func() bool { return a.client.Status().LastError != "" }, func() string { return a.client.Status().LastError })

	g.let(t)
	ctl.until("/readyz", http.StatusOK)
	report(t, "n1", "ready", ready)

	// It goes away again: what is established stays, and an agent with a valid
	// certificate comes back.
	g.shut()
	if s := a.client.Status(); !s.Connected {
		t.Errorf("the agent lost its controller with the API server: %+v", s)
	}
	ctl.until("/readyz", http.StatusOK)
	create(t, pod("default", "web", "n1"))
	if a.state().Endpoints["default/web"] != nil {
		t.Error("the controller knows what it cannot know: the gate is open")
	}
	g.let(t)
	eventually(t, "what happened meanwhile arrives", func() bool { return a.state().Endpoints["default/web"] != nil })
	report(t, "n1", "ready", func(s v1alpha1.NodeNetworkStatus) bool { return ready(s) })
}
