// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// TestMasqueradeExceptions: a destination that knows the way back sees the pod's own
// address, others the node's.
func TestMasqueradeExceptions(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	a := n.addPod()
	known := map[string]string{"IPv4": "192.168.101.7", "IPv6": "fd65::7"}
	for _, f := range families {
		up(t, w.outside, "lo", known[f]+map[string]string{"IPv4": "/32", "IPv6": "/128"}[f])
		must(t, w.outside.nl.RouteAdd(&netlink.Route{
			Dst: &net.IPNet{IP: a.ip(f).AsSlice(), Mask: net.CIDRMask(a.ip(f).BitLen(), a.ip(f).BitLen())},
			Gw:  n.uplinkIP(f).AsSlice(),
		}))
	}
	opts := n.opts
	opts.MasqueradeExceptions = []netip.Prefix{prefix("192.168.101.0/24"), prefix("fd65::/64")}
	n.restart(t, opts, []datapath.Endpoint{a.ep})
	for _, f := range families {
		checkPath(t, a.space, w.outside, addr(known[f]), a.ip(f))
		checkPath(t, a.space, w.outside, outsideIP(f), n.uplinkIP(f))
	}
}

// TestHostPortsInTheTunnel: what a host's process sends under another address gets the router's, and a
// port that no client of a Service from outside may have.
func TestHostPortsInTheTunnel(t *testing.T) {
	w := newWorld(t, 2, false)
	n, pod := w.nodes[0], w.nodes[1].addPod()
	for i, f := range families {
		to := netip.AddrPortFrom(pod.ip(f), 7100)
		var server net.PacketConn
		must(t, pod.space.Do(func() (err error) {
			server, err = net.ListenPacket("udp", to.String())
			return err
		}))
		t.Cleanup(func() { server.Close() }) //nolint:errcheck // nothing is kept
		for _, port := range []uint16{5000, 62000} {
			must(t, n.Do(func() error {
				from := net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.uplinkIP(f), port))
				conn, err := net.DialUDP("udp", from, net.UDPAddrFromAddrPort(to))
				if err != nil {
					return err
				}
				_, err = conn.Write([]byte("x"))
				return errors.Join(err, conn.Close())
			}))
			must(t, server.SetReadDeadline(time.Now().Add(5*time.Second)))
			_, from, err := server.ReadFrom(make([]byte, 1))
			must(t, err)
			got := netip.MustParseAddrPort(from.String())
			if got.Addr() != n.dp.Gateways()[i] || got.Port() < 32768 || got.Port() > 60999 {
				t.Errorf("%s: port %d became %s, want the router's address and a port from 32768 to 60999", f, port, got)
			}
		}
	}
}
