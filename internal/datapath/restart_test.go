// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// TestRestartKeepsFlows closes and opens a datapath below open connections.
func TestRestartKeepsFlows(t *testing.T) {
	w := newWorld(t, 2, false)
	one, two := w.nodes[0], w.nodes[1]
	a, b, c := one.addPod(), one.addPod(), two.addPod()
	service := serviceIP("IPv4", 7)
	one.addService(t, service, c.ip("IPv4"))
	conns := map[string]net.Conn{}
	for name, flow := range map[string]struct {
		to     netip.Addr
		server *pod
	}{"same node": {b.ip("IPv4"), b}, "across nodes": {c.ip("IPv6"), c}, "service": {service, c}} {
		conns[name] = openEcho(t, a, flow.server, netip.AddrPortFrom(flow.to, uint16(7400+len(conns))))
	}
	stored, err := json.Marshal([]datapath.Endpoint{a.ep, b.ep})
	must(t, err)
	before, attached := one.snapshot(t), one.attachments(t)

	ended, failed := keepTalking(conns)
	must(t, one.dp.Close())
	one.open()
	var eps []datapath.Endpoint
	must(t, json.Unmarshal(stored, &eps))
	lost, err := one.dp.RestoreEndpoints(context.Background(), eps)
	must(t, err)
	must(t, one.dp.SyncPeers(context.Background(), []datapath.Peer{{Name: two.name, PodCIDRs: two.spec.PodCIDRs, Addresses: two.spec.Addresses}}))
	close(ended)
	for range conns {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if len(lost) > 0 {
		t.Errorf("lost %v", lost)
	}
	// TCP hides a lost packet by sending it again, the counters do not.
	for _, n := range w.nodes {
		for _, reason := range []string{"spoofed_source", "no_peer", "not_here", "truncated", "kernel_refused"} {
			for _, hook := range []string{"from_pod", "from_overlay", "to_overlay"} {
				if got := count(t, n, hook, reason); got > 0 {
					t.Errorf("%s: %s dropped %d packets: %s", n.name, hook, got, reason)
				}
			}
		}
	}
	if diff := cmp.Diff(before, one.snapshot(t)); diff != "" {
		t.Errorf("the restart left or took something (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(attached, one.attachments(t)); diff != "" {
		t.Errorf("programs were not exchanged but attached anew (-before +after):\n%s", diff)
	}
	for _, ep := range eps {
		must(t, one.dp.CheckEndpoint(context.Background(), ep))
	}
}

// openEcho connects to a server that sends back what it gets.
func openEcho(t *testing.T, from, server *pod, to netip.AddrPort) net.Conn {
	t.Helper()
	var l net.Listener
	must(t, server.Do(func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf(":%d", to.Port()))
		return err
	}))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer l.Close()
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, c) // ends with the connection
	}()
	var c net.Conn
	err := from.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", to.String(), patience)
		return err
	})
	if err != nil {
		l.Close()
	}
	must(t, err)
	t.Cleanup(func() {
		c.Close()
		<-ended
	})
	return c
}

// keepTalking uses all connections until ended is closed, and reports once for each.
func keepTalking(conns map[string]net.Conn) (ended chan struct{}, failed chan error) {
	ended, failed = make(chan struct{}), make(chan error)
	for name, c := range conns {
		go func() {
			buf := make([]byte, 4)
			for {
				c.SetDeadline(time.Now().Add(patience))
				_, err := c.Write([]byte("ping"))
				if err == nil {
					_, err = io.ReadFull(c, buf)
				}
				if err != nil {
					failed <- fmt.Errorf("%s: %w", name, err)
					return
				}
				select {
				case <-ended:
					failed <- nil
					return
				default:
				}
			}
		}()
	}
	return ended, failed
}

func TestRestorePrunes(t *testing.T) {
	w := newWorld(t, 2, false)
	n, two := w.nodes[0], w.nodes[1]
	must(t, n.dp.SyncPeers(context.Background(), nil))
	before := n.snapshot(t)
	dead, forgotten, kept := n.addPod(), n.addPod(), n.addPod()
	must(t, n.dp.SyncPeers(context.Background(), []datapath.Peer{{Name: two.name, PodCIDRs: two.spec.PodCIDRs, Addresses: two.spec.Addresses}}))
	must(t, n.dp.Close())
	l, err := dead.nl.LinkByName("eth0")
	must(t, err)
	must(t, dead.nl.LinkDel(l))

	n.open()
	lost, err := n.dp.RestoreEndpoints(context.Background(), []datapath.Endpoint{dead.ep, kept.ep})
	must(t, err)
	if len(lost) != 1 || lost[0].ContainerID != dead.ep.ContainerID {
		t.Errorf("lost %v, want the one whose pod died", lost)
	}
	must(t, n.dp.SyncPeers(context.Background(), nil)) // the peer went meanwhile
	must(t, n.dp.CheckEndpoint(context.Background(), kept.ep))
	if _, err := forgotten.nl.LinkByName("eth0"); err == nil {
		t.Error("an endpoint that nobody knows still has its interface")
	}
	must(t, n.dp.RemoveEndpoint(context.Background(), kept.ep))
	if diff := cmp.Diff(before, n.snapshot(t)); diff != "" {
		t.Errorf("something is left or gone (-before +after):\n%s", diff)
	}
	must(t, ping(n.addPod().space, n.routerIP("IPv4"))) // with the address of the dead one
}
