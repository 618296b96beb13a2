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

// fromOutside is the load on a port of a node.
var fromOutside = continuity.Config{Flows: 500, Rest: time.Second, DatagramRate: 2000, Connects: true}

// TestServicesOutliveAnotherLayout: an agent whose maps have another layout takes over, and one
// with the former layout after it. Connections from outside, whose clients' addresses are
// translated too, go on, not one datagram is lost, and processes see their Service's address
// still and are told when its backend goes.
func TestServicesOutliveAnotherLayout(t *testing.T) {
	w := newShapedWorld(t, 2, shape{services: true})
	one, two := w.nodes[0], w.nodes[1]
	a, far := one.addPod(), two.addPod()
	const port = 7810
	nodePort := netip.AddrPortFrom(one.uplinkIP("IPv4"), 30080)
	first, second := netip.AddrPortFrom(far.ip("IPv4"), port), netip.AddrPortFrom(far.ip("IPv4"), port+1)
	answerAs(t, far.space, second, "far")
	at := netip.AddrPortFrom(serviceIP("IPv4", 1), 80)
	services := []datapath.Service{
		service("default/outside", datapath.Frontend{Address: unspecified("IPv4"), Port: nodePort.Port(), Kind: datapath.FrontendNodePort}, first),
		clusterIP("default/inside", at, second),
	}
	// What goes leaves the others with numbers that the next layout will not give them.
	one.setServices(t, append([]datapath.Service{clusterIP("default/former", netip.AddrPortFrom(serviceIP("IPv4", 2), 80), first)}, services...)...)
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

	stop, err := continuity.Spawn(far.Do, first)
	must(t, err)
	defer func() { must(t, stop()) }()
	load, err := continuity.Start(nodePort, w.outside.Do, fromOutside)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must(t, load.Await(ctx))
	opts := one.opts
	for _, layout := range []int{bpf.LayoutVersion + 1, bpf.LayoutVersion} {
		one.restart(t, datapath.WithLayout(opts, layout), []datapath.Endpoint{a.ep})
		one.setServices(t, services...)
		must(t, load.Await(ctx))
		held("after")
	}
	result, err := load.Stop()
	must(t, err)
	t.Logf("%d exchanges, %d datagrams, %d new connections", result.Exchanges, result.Received, result.Connected)
	if err := result.Err(); err != nil {
		t.Errorf("%v; no port was left for %d packets", err, count(t, one, "from_uplink", "no_port_left"))
	}
	must(t, one.dp.UpdateServices(ctx, datapath.ServiceUpdate{Gone: []datapath.Gone{
		{Address: second.Addr(), Port: second.Port(), Protocol: datapath.TCP},
		{Address: second.Addr(), Port: second.Port(), Protocol: datapath.UDP},
	}}))
	for name, c := range clients {
		if r := c.do(socketCommand{Do: "wait"}); r.Errno != syscall.ECONNABORTED {
			t.Errorf("%s: the backend went: %q, want %q", name, r.Err, syscall.ECONNABORTED)
		}
	}
}
