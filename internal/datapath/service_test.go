// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// addService translates, on a node, the address of a service to that of a pod, in the way
// that kube-proxy does: in prerouting and output, and dropping packets on their way
// through the node that connection tracking calls invalid.
func (n *node) addService(t *testing.T, service, backend netip.Addr) {
	t.Helper()
	family, nfproto := nftables.TableFamilyIPv4, byte(unix.NFPROTO_IPV4)
	offset, length := uint32(16), uint32(4) // of daddr
	if service.Is6() {
		family, nfproto, offset, length = nftables.TableFamilyIPv6, unix.NFPROTO_IPV6, 24, 16
	}
	conn, err := nftables.New(nftables.WithNetNSFd(n.FD()))
	must(t, err)
	table := conn.AddTable(&nftables.Table{Name: "services", Family: family})
	for _, hook := range []*nftables.ChainHook{nftables.ChainHookPrerouting, nftables.ChainHookOutput} {
		chain := conn.AddChain(&nftables.Chain{
			Name: map[nftables.ChainHook]string{*nftables.ChainHookPrerouting: "pre", *nftables.ChainHookOutput: "out"}[*hook], Table: table,
			Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: nftables.ChainPriorityNATDest,
		})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: service.AsSlice()},
			&expr.Immediate{Register: 1, Data: backend.AsSlice()},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(nfproto), RegAddrMin: 1},
		}})
	}
	filter := conn.AddChain(&nftables.Chain{
		Name: "fwd", Table: table,
		Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: filter, Exprs: []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{byte(expr.CtStateBitINVALID), 0, 0, 0}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	must(t, conn.Flush())
}

func serviceIP(family string, i byte) netip.Addr {
	if family == "IPv4" {
		return netip.AddrFrom4([4]byte{10, 96, 0, i})
	}
	return addr("fd00:10:96::" + string('0'+rune(i)))
}

// TestServices reaches pods through addresses that the host's stack translates: the
// answers must go back through the stack, and what does not need it must not.
func TestServices(t *testing.T) {
	for _, over := range []struct {
		name string
		shape
	}{{"tunnel over IPv4", shape{}}, {"tunnel over IPv6", shape{over6: true}}, {"native", shape{routing: datapath.RoutingNative}}} {
		t.Run(over.name, func(t *testing.T) {
			w := newShapedWorld(t, 2, over.shape)
			one, two := w.nodes[0], w.nodes[1]
			a, b, c := one.addPod(), one.addPod(), two.addPod()
			for _, f := range families {
				for i, to := range []struct {
					name    string
					backend *pod
				}{{"same node", b}, {"other node", c}} {
					service := serviceIP(f, byte(i+1))
					one.addService(t, service, to.backend.ip(f))
					t.Run(f+"/"+to.name+"/from pod", func(t *testing.T) {
						checkService(t, a.space, to.backend, service, f, a.ip(f))
					})
					t.Run(f+"/"+to.name+"/from host", func(t *testing.T) {
						seen := one.routerIP(f)
						if to.backend == b || over.routing == datapath.RoutingNative { // no tunnel, so the host's choice for the service's address stays
							seen = one.uplinkIP(f)
						}
						checkService(t, one.space, to.backend, service, f, seen)
					})
				}
			}
			arrival := "from_overlay"
			if over.routing == datapath.RoutingNative {
				arrival = "from_uplink"
			}
			if count(t, one, "from_pod", "via_stack") == 0 || count(t, one, arrival, "via_stack") == 0 {
				t.Error("no answer of a service went through the stack: the path was not tested")
			}
		})
	}
}

// addMasquerade gives packets on their way from one address to another the source of the
// device that they leave by, as kube-proxy does for clients that could not take the answer.
func (n *node) addMasquerade(t *testing.T, from, to netip.Addr) {
	t.Helper()
	family, offset, length := nftables.TableFamilyIPv4, uint32(12), uint32(4) // of saddr
	if from.Is6() {
		family, offset, length = nftables.TableFamilyIPv6, 8, 16
	}
	conn, err := nftables.New(nftables.WithNetNSFd(n.FD()))
	must(t, err)
	table := conn.AddTable(&nftables.Table{Name: "services", Family: family})
	chain := conn.AddChain(&nftables.Chain{
		Name: "post", Table: table,
		Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: from.AsSlice()},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset + length, Len: length},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: to.AsSlice()},
		&expr.Masq{},
	}})
	must(t, conn.Flush())
}

// TestServicesFromElsewhere: from outside through a node to its own pod and to another
// node's, and from a pod to itself.
func TestServicesFromElsewhere(t *testing.T) {
	w := newWorld(t, 2, false)
	one, two := w.nodes[0], w.nodes[1]
	a, c := one.addPod(), two.addPod()
	for _, f := range families {
		own, other := serviceIP(f, 5), serviceIP(f, 6)
		one.addService(t, own, a.ip(f))
		one.addService(t, other, c.ip(f))
		one.addMasquerade(t, outsideIP(f), c.ip(f))
		one.addMasquerade(t, a.ip(f), a.ip(f))
		for _, service := range []netip.Addr{own, other} {
			must(t, w.outside.nl.RouteAdd(&netlink.Route{
				Dst: &net.IPNet{IP: service.AsSlice(), Mask: net.CIDRMask(service.BitLen(), service.BitLen())},
				Gw:  one.uplinkIP(f).AsSlice(),
			}))
		}
		t.Run(f+"/outside to the node's own pod", func(t *testing.T) {
			checkService(t, w.outside, a, own, f, outsideIP(f))
		})
		t.Run(f+"/outside to another node's pod", func(t *testing.T) {
			checkService(t, w.outside, c, other, f, one.routerIP(f))
		})
		t.Run(f+"/pod to itself", func(t *testing.T) {
			at := netip.AddrPortFrom(a.ip(f), 7500)
			tcpServer(t, a.space, at)
			if _, err := tcpSend(a.space, netip.AddrPortFrom(own, 7500), bulk); err != nil {
				t.Error(err)
			}
		})
	}
}

// checkService asks the service, and the same pod by its own address from the same port:
// connections of both kinds must not be confused.
func checkService(t *testing.T, from space, backend *pod, service netip.Addr, family string, seen netip.Addr) {
	at := netip.AddrPortFrom(backend.ip(family), 7100)
	tcpServer(t, backend.space, at)
	udpServer(t, backend.space, at)
	by := netip.AddrPortFrom(service, 7100)
	got, err := tcpSend(from, by, bulk)
	if err != nil || got != seen {
		t.Errorf("TCP: the server saw %v (%v), want %v", got, err, seen)
	}
	for _, size := range []int{10, 8000} {
		got, err = udpAsk(from, by, size, false)
		if err != nil || got != seen {
			t.Errorf("UDP of %d bytes: the server saw %v (%v), want %v", size, got, err, seen)
		}
	}
	if err := ping(from, service); err != nil {
		t.Errorf("ICMP: %v", err)
	}
	checkRefused(t, from, netip.AddrPortFrom(service, 7999))
}

// checkRefused expects the ICMP error about a closed port, which must find its way
// through the translation too.
func checkRefused(t *testing.T, from space, closed netip.AddrPort) {
	t.Helper()
	c, err := udpDial(from, closed, false)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if _, err := c.Write([]byte("x")); isRefused(err) {
			return
		}
		c.SetReadDeadline(time.Now().Add(patience / 10))
		if _, err := c.Read(make([]byte, 1)); isRefused(err) {
			return
		}
	}
	t.Errorf("%s: no ICMP error came back", closed)
}

// TestServiceAndPodFromOnePort opens a connection to a service and, when it is closed, one
// to the pod behind it from the same port: the second must not be taken for the first.
func TestServiceAndPodFromOnePort(t *testing.T) {
	w := newWorld(t, 2, false)
	one, two := w.nodes[0], w.nodes[1]
	a, b, c := one.addPod(), one.addPod(), two.addPod()
	for _, f := range families {
		for i, backend := range []*pod{b, c} {
			service := serviceIP(f, byte(i+3))
			one.addService(t, service, backend.ip(f))
			t.Run(f+"/"+backend.node.name, func(t *testing.T) {
				tcpServer(t, backend.space, netip.AddrPortFrom(backend.ip(f), 7200))
				for _, to := range []netip.Addr{service, backend.ip(f), service} {
					if err := connectFromPort(a, f, 7300+uint16(i), netip.AddrPortFrom(to, 7200)); err != nil {
						t.Errorf("to %s: %v", to, err)
					}
				}
			})
		}
	}
}

// connectFromPort connects from a fixed port, which takes a packet each way, and resets the
// connection so that the port is free at once.
func connectFromPort(p *pod, family string, port uint16, to netip.AddrPort) error {
	d := net.Dialer{
		Timeout:   patience / 2,
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.ip(family), port)),
		Control: func(_, _ string, raw syscall.RawConn) error {
			var opt error
			err := raw.Control(func(fd uintptr) { opt = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
			return errors.Join(err, opt)
		},
	}
	var c net.Conn
	err := p.Do(func() (err error) {
		c, err = d.Dial("tcp", to.String())
		return err
	})
	if err != nil {
		return err
	}
	return errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close())
}

// count returns how often a node's hook met a reason.
func count(t *testing.T, n *node, hook, reason string) uint64 {
	t.Helper()
	counters, err := n.dp.Metrics()
	must(t, err)
	for _, c := range counters {
		if c.Hook == hook && c.Reason == reason {
			return c.Packets
		}
	}
	return 0
}
