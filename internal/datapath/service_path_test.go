// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// routeVia makes a node the way to an address of a load balancer.
func (w *world) routeVia(t *testing.T, address netip.Addr, n *node, family string) {
	t.Helper()
	must(t, w.outside.nl.RouteReplace(&netlink.Route{
		Dst: &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(address.BitLen(), address.BitLen())},
		Gw:  n.uplinkIP(family).AsSlice(),
	}))
}

// TestServiceWithoutBackends: clients are refused at once, wherever checksums are computed: in the
// client's packet, or in what the program has made of it.
func TestServiceWithoutBackends(t *testing.T) {
	w := newShapedWorld(t, 1, shape{services: true})
	one := w.nodes[0]
	a := one.addPod()
	rows := one.serviceRows(t)
	for _, offloads := range []struct {
		name string
		set  func()
	}{
		{"by nobody", func() {}},
		{"by the node", func() {
			one.withoutOffloads(t, "eth0")
			one.withoutOffloads(t, a.ep.HostIf)
		}},
		{"by the client", func() {
			w.outside.withoutOffloads(t, "br0")
			a.withoutOffloads(t, "eth0")
		}},
	} {
		offloads.set()
		for i, f := range families {
			port := uint16(30000 + i)
			rows.nodePort(f, port)
			for name, from := range map[string]space{"outside": w.outside, "pod": a.space} {
				t.Run("checksums "+offloads.name+"/"+f+"/from "+name, func(t *testing.T) {
					service := netip.AddrPortFrom(one.uplinkIP(f), port)
					begin := time.Now()
					if _, err := tcpSend(from, service, 1); !isRefused(err) {
						t.Errorf("TCP: got %v, want %v", err, unix.ECONNREFUSED)
					}
					checkRefused(t, from, service)
					if took := time.Since(begin); took > patience/5 {
						t.Errorf("it took %v", took)
					}
				})
			}
		}
	}
}

// TestServicePathMTU: a client outside is told what fits into the tunnel to the backend, and
// what may be cut up passes whole.
func TestServicePathMTU(t *testing.T) {
	for _, c := range []struct {
		name string
		shape
		mtu int
	}{
		{"tunnel", shape{services: true}, uplinkMTU - 50},
		{"tunnel over IPv6", shape{services: true, over6: true}, uplinkMTU - 70},
		{"native", shape{services: true, routing: datapath.RoutingNative}, uplinkMTU},
		{"native, direct answers", shape{services: true, routing: datapath.RoutingNative, forwarding: datapath.ForwardDSR}, uplinkMTU - 50},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newShapedWorld(t, 2, c.shape)
			one, two := w.nodes[0], w.nodes[1]
			far := two.addPod()
			rows := []*serviceRows{one.serviceRows(t), two.serviceRows(t)}
			for _, f := range families {
				t.Run(f, func(t *testing.T) {
					for _, r := range rows {
						r.nodePort(f, 30090, toPod(far, f, 7401))
					}
					at := inbox(t, far.space, netip.AddrPortFrom(far.ip(f), 7401))
					service := netip.AddrPortFrom(one.uplinkIP(f), 30090)
					headers, level, option := 28, unix.IPPROTO_IP, unix.IP_MTU
					if f == "IPv6" {
						headers, level, option = 48, unix.IPPROTO_IPV6, unix.IPV6_MTU
					}
					if f == "IPv4" && !c.over6 { // without DF
						whole, err := udpDial(w.outside, service, false)
						must(t, err)
						defer whole.Close()
						unfragmented(t, whole)
						_, err = whole.Write(make([]byte, uplinkMTU-headers))
						must(t, err)
						if got, _ := next(t, at); len(got) != uplinkMTU-headers {
							t.Errorf("%d bytes came, want %d", len(got), uplinkMTU-headers)
						}
					}
					client, err := udpDial(w.outside, service, true)
					must(t, err)
					defer client.Close()
					for begin := time.Now(); c.mtu < uplinkMTU; {
						if _, err := client.Write(make([]byte, c.mtu-headers+1)); errors.Is(err, unix.EMSGSIZE) {
							break
						} else if time.Since(begin) > patience {
							t.Fatalf("packets of %d bytes: still sent after %v (%v)", c.mtu+1, patience, err)
						}
					}
					if got := socketOption(t, client, level, option); got != c.mtu {
						t.Errorf("the client knows MTU %d, want %d", got, c.mtu)
					}
					_, err = client.Write(make([]byte, c.mtu-headers))
					if errors.Is(err, unix.EMSGSIZE) { // of a packet before
						_, err = client.Write(make([]byte, c.mtu-headers))
					}
					must(t, err)
					if got, _ := next(t, at); len(got) != c.mtu-headers {
						t.Errorf("%d bytes came, want %d", len(got), c.mtu-headers)
					}
				})
			}
		})
	}
}

// unfragmented makes a socket send packets without DF, and as large as its device takes.
func unfragmented(t *testing.T, c *net.UDPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	var opt error
	must(t, raw.Control(func(fd uintptr) {
		opt = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	}))
	must(t, opt)
}

func socketOption(t *testing.T, c *net.UDPConn, level, option int) int {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	var value int
	var opt error
	must(t, raw.Control(func(fd uintptr) { value, opt = unix.GetsockoptInt(int(fd), level, option) }))
	must(t, opt)
	return value
}

// TestDirectAnswers: what the backend's node answers does not pass the node that the client asked,
// and both nodes choose the same of several backends.
func TestDirectAnswers(t *testing.T) {
	w := newShapedWorld(t, 2, shape{services: true, forwarding: datapath.ForwardDSR})
	one, two := w.nodes[0], w.nodes[1]
	p, q := two.addPod(), two.addPod()
	for i, f := range families {
		service := netip.AddrPortFrom(serviceIP(f, byte(i+1)), 80)
		w.routeVia(t, service.Addr(), one, f)
		for _, n := range w.nodes {
			r := n.serviceRows(t)
			pool := r.pool(toPod(p, f, 7100), toPod(q, f, 7100))
			r.publish(service, bpf.Frontend{Inside: pool, Outside: pool})
		}
		for _, to := range []*pod{p, q} {
			tcpServer(t, to.space, netip.AddrPortFrom(to.ip(f), 7100))
		}
		for range 20 {
			got, err := tcpSend(w.outside, service, bulk/10)
			if err != nil || got != outsideIP(f) {
				t.Fatalf("%s: the backend saw %v (%v), want %v", f, got, err, outsideIP(f))
			}
		}
	}
	if n := count(t, one, "from_overlay", "service_reply") + count(t, one, "from_uplink", "service_reply"); n > 0 {
		t.Errorf("%d answers came back by the node that was asked", n)
	}
	if count(t, one, "from_uplink", "service_handed_on") == 0 || count(t, two, "from_pod", "service_reply") == 0 {
		t.Error("no packet was handed on: the path was not tested")
	}
	chosen := map[netip.Addr]bool{}
	forwards, here := one.translations(t), two.translations(t)
	for key, row := range forwards {
		if row.Flags&bpf.TranslationForward == 0 {
			t.Errorf("the node that was asked has row %+v: %+v of its own", key, row)
		}
		if other := here[key]; other.Dst != row.Dst || other.Dport != row.Dport {
			t.Errorf("one node chose %v, the other %v", bpf.Netip(row.Dst), bpf.Netip(other.Dst))
		}
		chosen[bpf.Netip(row.Dst)] = true
	}
	if len(chosen) != 4 {
		t.Errorf("of two backends in two families %d were used", len(chosen))
	}
}

// translations returns the rows of a node.
func (n *node) translations(t *testing.T) map[bpf.TranslationKey]bpf.Translation {
	t.Helper()
	all := map[bpf.TranslationKey]bpf.Translation{}
	var key bpf.TranslationKey
	var row bpf.Translation
	rows := n.serviceRows(t).maps["fl_translations"].Iterate()
	for rows.Next(&key, &row) {
		all[key] = row
	}
	must(t, rows.Err())
	return all
}

// TestServiceAndPodFromSamePort: a connection to a Service, then one to the backend itself from the
// same port, and again: packets that no socket program saw are not confused with others.
func TestServiceAndPodFromSamePort(t *testing.T) {
	w := newShapedWorld(t, 2, shape{services: true})
	one, two := w.nodes[0], w.nodes[1]
	a, b, c := one.addPod(), one.addPod(), two.addPod()
	rows := one.serviceRows(t)
	for _, f := range families {
		for i, to := range []*pod{b, c} {
			service := netip.AddrPortFrom(serviceIP(f, byte(i+1)), 80)
			pool := rows.pool(toPod(to, f, 7200))
			rows.publish(service, bpf.Frontend{Inside: pool, Outside: pool, Flags: bpf.FrontendClusterIP})
			direct := netip.AddrPortFrom(to.ip(f), 7200)
			tcpServer(t, to.space, direct)
			for j, at := range []netip.AddrPort{service, direct, service, direct, direct, service} {
				if err := connectFromPort(a, f, 7300+uint16(i), at); err != nil {
					t.Errorf("%s, backend on %s, connection %d to %s: %v", f, to.node.name, j, at, err)
				}
			}
		}
	}
}
