// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"sync"

	"github.com/fairlead-io/fairlead/test/lab/atomicfile"
	"github.com/fairlead-io/fairlead/test/lab/plan"
)

// Forwards are the ways from 127.0.0.1 to API servers. The file of ports says which there are.
type Forwards struct {
	ctx    context.Context
	labDir string
	router string

	mu    sync.Mutex
	old   Ports // Those of a supervisor before, which kubeconfigs name.
	ports Ports
	close map[string]context.CancelFunc
}

func newForwards(ctx context.Context, p plan.Plan) *Forwards {
	old, err := LoadPorts(p.Dir)
	if err != nil {
		old = Ports{}
	}
	return &Forwards{ctx: ctx, labDir: p.Dir, router: p.Router, old: old, ports: Ports{}, close: map[string]context.CancelFunc{}}
}

// Open makes the way to a cluster's API server, and returns its port. One that is open stays.
func (f *Forwards) Open(c plan.Cluster) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if port, ok := f.ports[c.Name]; ok {
		return port, nil
	}
	l, err := listenLocal(f.old[c.Name])
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(f.ctx)
	f.ports[c.Name], f.close[c.Name] = l.Addr().(*net.TCPAddr).Port, cancel
	connect := dialerIn(ctx, f.router) // Its own: one that dials a dead machine dials nothing else meanwhile.
	go func() {
		to := netip.AddrPortFrom(c.ControlPlane.IPv4, plan.APIPort).String()
		if err := forward(ctx, l, connect, to); err != nil {
			slog.Error("an API server is not reached any more", "cluster", c.Name, "error", err)
		}
	}()
	return f.ports[c.Name], f.save()
}

// Close ends the way to a cluster's API server, and every connection by it.
func (f *Forwards) Close(cluster string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if cancel := f.close[cluster]; cancel != nil {
		cancel()
	}
	delete(f.close, cluster)
	delete(f.ports, cluster)
	delete(f.old, cluster)
	return f.save()
}

// save keeps the ports that are to be used again, too.
func (f *Forwards) save() error {
	all := maps.Clone(f.old)
	maps.Copy(all, f.ports)
	raw, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return atomicfile.Write(portsFile(f.labDir), raw, 0o644)
}
