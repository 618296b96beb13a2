// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/test/continuity"
)

// TestServicesOutliveAnotherLayout: an agent whose maps have another layout takes over, and one
// with the former layout after it. Connections from outside, whose clients' addresses are
// translated too, go on, not one datagram is lost, and processes see their Service's address
// still and are told when its backend goes.
func TestServicesOutliveAnotherLayout(t *testing.T) {
	w := newShapedWorld(t, 2, shape{services: true})
	one, two := w.nodes[0], w.nodes[1]
	a, far := one.addPod(), two.addPod()
	// New connections only to a pod of the node, where they keep their ports: those of the router's
	// address would not last for as many as can be opened.
	loads := []struct {
		to   *pod
		port uint16
		continuity.Config
	}{
		{far, 30080, continuity.Config{Flows: 500, Rest: time.Second, DatagramRate: 2000}},
		{a, 30081, continuity.Config{Flows: 100, Rest: time.Second, DatagramRate: 1000, Connects: true}},
	}
	at, backend := netip.AddrPortFrom(serviceIP("IPv4", 1), 80), netip.AddrPortFrom(far.ip("IPv4"), 7811)
	answerAs(t, far.space, backend, "far")
	services := []datapath.Service{clusterIP("default/inside", at, backend)}
	for _, l := range loads {
		f := datapath.Frontend{Address: unspecified("IPv4"), Port: l.port, Kind: datapath.FrontendNodePort}
		s := service("default/outside-"+l.to.ep.HostIf, f, netip.AddrPortFrom(l.to.ip("IPv4"), 7810))
		s.Pools[0].Backends[0].Local = l.to == a
		services = append(services, s)
	}
	// What goes leaves the others with numbers that the next layout will not give them.
	one.setServices(t, append([]datapath.Service{clusterIP("default/former", netip.AddrPortFrom(serviceIP("IPv4", 2), 80), backend)}, services...)...)
	one.setServices(t, services...)

	clients := map[string]*socketClient{"TCP in a pod": one.socketClient(t, a.space), "UDP on the host": one.socketClient(t, one.space)}
	ways := map[string]string{"TCP in a pod": "hold", "UDP on the host": "hold-udp"}
	held := func(when string) {
		t.Helper()
		for name, c := range clients {
			if r := c.do(socketCommand{Do: "held"}); r.Err != "" || r.Answer != "far" || r.Peer != at {
				t.Errorf("%s, %s: answer %q of %s (%s), want that of %s", when, name, r.Answer, r.Peer, r.Err, at)
			}
		}
	}
	for name, c := range clients {
		if r := c.do(socketCommand{Do: ways[name], To: at}); r.Err != "" {
			t.Fatalf("%s: %s", name, r.Err)
		}
	}
	held("before")

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var all []*continuity.Client
	for _, l := range loads {
		stop, err := continuity.Spawn(l.to.Do, netip.AddrPortFrom(l.to.ip("IPv4"), 7810))
		must(t, err)
		defer func() { must(t, stop()) }()
		load, err := continuity.Start(netip.AddrPortFrom(one.uplinkIP("IPv4"), l.port), w.outside.Do, l.Config)
		must(t, err)
		all = append(all, load)
	}
	await := func() {
		t.Helper()
		for _, load := range all {
			if err := load.Await(ctx); err != nil {
				t.Errorf("from outside: %v", err)
			}
		}
	}
	await()
	opts := one.opts
	for _, layout := range []int{bpf.LayoutVersion + 1, bpf.LayoutVersion} {
		one.restart(t, datapath.WithLayout(opts, layout), []datapath.Endpoint{a.ep})
		one.setServices(t, services...)
		await()
		held("after")
	}
	for i, load := range all {
		r, err := load.Stop()
		must(t, err)
		t.Logf("port %d: %d exchanges, %d datagrams, %d new connections", loads[i].port, r.Exchanges, r.Received, r.Connected)
		if err := r.Err(); err != nil {
			t.Errorf("port %d: %v", loads[i].port, err)
		}
	}
	must(t, one.dp.UpdateServices(ctx, datapath.ServiceUpdate{Gone: []datapath.Gone{
		{Address: backend.Addr(), Port: backend.Port(), Protocol: datapath.TCP},
		{Address: backend.Addr(), Port: backend.Port(), Protocol: datapath.UDP},
	}}))
	for name, c := range clients {
		if r := c.do(socketCommand{Do: "wait"}); r.Errno != syscall.ECONNABORTED {
			t.Errorf("%s: the backend went: %q, want %q", name, r.Err, syscall.ECONNABORTED)
		}
	}
}
