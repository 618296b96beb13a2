// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/test/continuity"
)

// heavy is the load of each of the two paths: 10,000 connections, and 10,000 datagrams a
// second on each, together with new connections.
var heavy = continuity.Config{Flows: 5000, Rest: 3 * time.Second, DatagramRate: 10000, Connects: true}

// light is that of a path through the host's stack.
var light = continuity.Config{Flows: 100, Rest: time.Second, DatagramRate: 1000, Connects: true}

// restart closes a node's datapath and opens it again, as another agent would.
func (n *node) restart(t *testing.T, opts datapath.Options, eps []datapath.Endpoint) {
	t.Helper()
	stored, err := json.Marshal(eps)
	must(t, err)
	must(t, n.dp.Close())
	n.opts = opts
	n.open()
	var read []datapath.Endpoint
	must(t, json.Unmarshal(stored, &read))
	lost, err := n.dp.RestoreEndpoints(context.Background(), read)
	must(t, err)
	if len(lost) > 0 {
		t.Errorf("lost %v", lost)
	}
	n.syncPeers(t)
}

// syncPeers tells a node of all nodes.
func (n *node) syncPeers(t *testing.T) {
	t.Helper()
	var peers []datapath.Peer
	for _, one := range n.world.nodes {
		peers = append(peers, datapath.Peer{Name: one.name, PodCIDRs: one.spec.PodCIDRs, Addresses: one.spec.Addresses})
	}
	must(t, n.dp.SyncPeers(context.Background(), peers))
}

// path is a way that a load is put on.
type path struct {
	name     string
	from, to *pod
	at       netip.Addr // what the client calls the server
	continuity.Config
}

// underLoad does something while there is load on all paths, and returns what came of it.
func underLoad(t *testing.T, paths []path, do func(map[string]*continuity.Client)) map[string]continuity.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	clients := map[string]*continuity.Client{}
	for i, p := range paths {
		port := uint16(7800 + i)
		stop, err := continuity.Spawn(p.to.Do, netip.AddrPortFrom(pick(p.to.ep.Addresses, familyOf(p.at)), port))
		must(t, err)
		defer func() { must(t, stop()) }()
		client, err := continuity.Start(netip.AddrPortFrom(p.at, port), p.from.Do, p.Config)
		must(t, err)
		clients[p.name] = client
	}
	await := func() {
		for name, c := range clients {
			if err := c.Await(ctx); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	await()
	do(clients)
	await()
	results := map[string]continuity.Result{}
	for name, c := range clients {
		r, err := c.Stop()
		must(t, err)
		t.Logf("%s: %d exchanges, %d datagrams, %d new connections", name, r.Exchanges, r.Received, r.Connected)
		results[name] = r
	}
	return results
}

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// TestHandOverLosesNothing: another agent takes over, of the same layout or another, or
// with another routing, while the network is in use. Nothing may break, not one datagram.
func TestHandOverLosesNothing(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(datapath.Options) []datapath.Options // of one node, one after another
	}{
		{"restart", func(o datapath.Options) []datapath.Options { return []datapath.Options{o, o, o} }},
		{"another layout and back", func(o datapath.Options) []datapath.Options {
			return []datapath.Options{datapath.WithLayout(o, bpf.LayoutVersion+1), o}
		}},
		{"native routing and back", func(o datapath.Options) []datapath.Options {
			native := o
			native.Routing = datapath.RoutingNative
			return []datapath.Options{native, o}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 2, false)
			one, two := w.nodes[0], w.nodes[1]
			a, b, far := one.addPod(), one.addPod(), two.addPod()
			service := serviceIP("IPv4", 7)
			one.addService(t, service, far.ip("IPv4"))
			results := underLoad(t, []path{
				{"same node", a, b, b.ip("IPv4"), heavy},
				{"to the other node", a, far, far.ip("IPv4"), heavy},
				{"from the other node", far, b, b.ip("IPv6"), light},
				{"service", b, far, service, light},
			}, func(map[string]*continuity.Client) {
				for _, opts := range c.change(one.opts) {
					one.restart(t, opts, []datapath.Endpoint{a.ep, b.ep})
				}
			})
			for name, r := range results {
				if err := r.Err(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// TestAGapIsNoticed: the load of TestHandOverLosesNothing tells when a pod is without its
// network for a moment.
func TestAGapIsNoticed(t *testing.T) {
	w := newWorld(t, 1, false)
	a, b := w.nodes[0].addPod(), w.nodes[0].addPod()
	results := underLoad(t, []path{{"same node", a, b, b.ip("IPv4"), light}}, func(clients map[string]*continuity.Client) {
		host, err := w.nodes[0].nl.LinkByName(a.ep.HostIf)
		must(t, err)
		must(t, w.nodes[0].nl.LinkSetDown(host))
		c := clients["same node"]
		for begin, until := c.Sent(), time.Now().Add(patience); c.Sent() < begin+10; {
			if time.Now().After(until) {
				t.Fatal("no datagrams were sent")
			}
		}
		must(t, w.nodes[0].nl.LinkSetUp(host))
	})
	if r := results["same node"]; r.Err() == nil {
		t.Errorf("nobody noticed that the pod was cut off: %+v", r)
	}
}
