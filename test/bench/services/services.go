// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/test/bench/target"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

// Subjects are all of them, in the order of a report.
var Subjects = []string{target.Direct, target.Fairlead, target.NFTables, target.IPTables}

// Settings are what the subjects need.
type Settings struct {
	// Dir is an empty folder for the API server's files.
	Dir string
	// Bin is the folder of etcd, kube-apiserver and kube-proxy; "" leaves kube-proxy out,
	// and what needs a real API server.
	Bin string
	// Fairlead is the folder of fairlead and fairlead-agent; "" leaves out what is measured
	// with a real controller and agent.
	Fairlead string
	// Say is told what is done.
	Say func(format string, args ...any)
}

// Bench is the subjects, with the same number of Services each.
type Bench struct {
	settings         Settings
	direct, fairlead *topo.Pair
	datapath         *datapath.Datapath
	cluster          *cluster
	proxies          []*proxy
	world            *topo.World
	agents           int // nodes that have had one
	size             int
	cgroup           string
}

// New makes the subjects, without Services. Those of kube-proxy's that cannot be made are in
// missing, with the reason.
func New(ctx context.Context, w *topo.World, s Settings) (b *Bench, missing map[string]error, err error) {
	b = &Bench{settings: s, world: w}
	if b.cgroup, err = makeCgroup("datapath"); err != nil {
		return nil, nil, err
	}
	if b.fairlead, b.datapath, err = w.FairleadServices(ctx, b.cgroup); err != nil {
		return nil, nil, errors.Join(err, b.Close())
	}
	b.fairlead.Subject, b.fairlead.Ports, b.fairlead.Cgroup = target.Fairlead, ports(), b.cgroup
	direct := *b.fairlead // and in no cgroup of ours: no program looks at its sockets
	b.direct = &direct
	b.direct.Subject, b.direct.Cgroup = target.Direct, ""
	missing = map[string]error{}
	if err := b.startPeers(ctx, w); err != nil {
		if ctx.Err() != nil {
			return nil, nil, errors.Join(ctx.Err(), b.Close())
		}
		missing[target.NFTables], missing[target.IPTables] = err, err
	}
	return b, missing, nil
}

func (b *Bench) startPeers(ctx context.Context, w *topo.World) error {
	if b.settings.Bin == "" {
		return errors.New("the folder of kube-proxy is not named: use -kubernetes")
	}
	m, err := w.Machine()
	if err != nil {
		return err
	}
	if b.cluster, err = startCluster(ctx, m, filepath.Join(b.settings.Dir, "cluster"), b.settings.Bin); err != nil {
		return err
	}
	if err := b.cluster.admitFairlead(ctx); err != nil {
		return err
	}
	for _, mode := range []string{"nftables", "iptables"} {
		p, err := newProxy(ctx, w, b.cluster, b.settings.Bin, mode)
		if err != nil {
			return err
		}
		b.proxies = append(b.proxies, p)
	}
	return nil
}

// Synced is how long a subject took from its first look at all Services until the last of
// them answered.
type Synced struct {
	Subject string
	Took    time.Duration
}

// Grow brings all subjects to a number of Services, more than there were. Agents and
// kube-proxies are not started, so that they do not follow each step of the way there.
func (b *Bench) Grow(ctx context.Context, size int) error {
	if size <= b.size {
		return fmt.Errorf("%d Services after %d: want more", size, b.size)
	}
	if err := b.growFairlead(ctx, size); err != nil {
		return err
	}
	b.fairlead.Via = vip(size - 1)
	if err := b.fairlead.CheckSockets(ctx); err != nil {
		return err
	}
	if len(b.proxies) > 0 {
		for _, p := range b.proxies {
			p.stop()
		}
		b.settings.Say("create %d Services", size-b.size)
		if err := b.cluster.create(ctx, b.size, size, b.proxies[0].Server4); err != nil {
			return err
		}
	}
	b.size = size
	return nil
}

// StartProxies starts kube-proxy on its nodes.
func (b *Bench) StartProxies(ctx context.Context) ([]Synced, error) {
	var out []Synced
	for _, p := range b.proxies {
		took, err := p.restart(ctx, vip(b.size-1))
		if err != nil {
			return nil, err
		}
		b.settings.Say("%s is in step with %d Services after %v", p.Subject, b.size, took.Round(time.Millisecond))
		out = append(out, Synced{p.Subject, took})
	}
	return out, nil
}

func (b *Bench) growFairlead(ctx context.Context, size int) error {
	var u datapath.ServiceUpdate
	for i := b.size; i < size; i++ {
		of := netip.Addr{}
		if i == size-1 {
			of = b.fairlead.Server4
		}
		u.Set = append(u.Set, service(i, of))
	}
	begin := time.Now()
	if err := b.datapath.UpdateServices(ctx, u); err != nil {
		return err
	}
	b.settings.Say("%d Services more are in Fairlead's maps after %v", len(u.Set), time.Since(begin).Round(time.Millisecond))
	return nil
}

// Pairs are the subjects.
func (b *Bench) Pairs() []*topo.Pair {
	pairs := []*topo.Pair{b.direct, b.fairlead}
	for _, p := range b.proxies {
		pairs = append(pairs, p.Pair)
	}
	return pairs
}

// Close ends the programs and removes the cgroup. The namespaces go with the world.
func (b *Bench) Close() error {
	for _, p := range b.proxies {
		p.stop()
	}
	var errs []error
	if b.cluster != nil {
		errs = append(errs, b.cluster.close())
	}
	return errors.Join(append(errs, os.Remove(b.cgroup))...)
}
