// SPDX-License-Identifier: Apache-2.0

package pathmtu

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/agent/pathmtu"
	"github.com/fairlead-io/fairlead/internal/datapath/netns"
	"github.com/fairlead-io/fairlead/internal/datapath/netns/netnstest"
	"github.com/fairlead-io/fairlead/internal/datapath/watch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// space is a network namespace.
type space struct {
	*netns.NS
	*netlink.Handle
	t *testing.T
}

func newSpace(t *testing.T) *space {
	t.Helper()
	ns := netnstest.New(t)
	h, err := netlink.NewHandleAt(vnetns.NsHandle(ns.FD()), unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(h.Close)
	s := &space{NS: ns, Handle: h, t: t}
	// A router asks for nobody's link-layer address before its own link-local address
	// has been proved unique, which takes longer than an answer may.
	s.sysctl("net/ipv6/conf/default/accept_dad", "0")
	return s
}

// cable joins two namespaces by a veth whose ends have an MTU each.
func cable(a *space, aName string, aMTU int, b *space, bName string, bMTU int) {
	v := netlink.NewVeth(netlink.LinkAttrs{Name: aName, MTU: aMTU})
	v.PeerName, v.PeerMTU, v.PeerNamespace = bName, uint32(bMTU), netlink.NsFd(b.FD())
	must(a.t, a.LinkAdd(v))
	a.up(aName)
	b.up(bName)
}

func (s *space) device(name string) netlink.Link {
	s.t.Helper()
	l, err := s.LinkByName(name)
	must(s.t, err)
	return l
}

// up brings a device up with addresses that can be used at once.
func (s *space) up(device string, addresses ...string) {
	s.t.Helper()
	for _, a := range addresses {
		parsed, err := netlink.ParseAddr(a)
		must(s.t, err)
		if parsed.IP.To4() == nil {
			parsed.Flags = unix.IFA_F_NODAD
		}
		must(s.t, s.AddrAdd(s.device(device), parsed))
	}
	must(s.t, s.LinkSetUp(s.device(device)))
}

func (s *space) via(device string, gateways ...string) {
	s.t.Helper()
	for _, gw := range gateways {
		ip := net.ParseIP(gw)
		dst := &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
		if ip.To4() != nil {
			dst = &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
		}
		must(s.t, s.RouteAdd(&netlink.Route{LinkIndex: s.device(device).Attrs().Index, Dst: dst, Gw: ip}))
	}
}

// sysctl writes a setting of the namespace.
func (s *space) sysctl(name, value string) {
	s.t.Helper()
	must(s.t, s.Do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0o644) }))
}

// sockets are the agent's sockets in a namespace.
type sockets struct {
	ns    *space
	inner pathmtu.Sockets
}

func (s *space) sockets() sockets { return sockets{s, pathmtu.Sockets{DeviceMTU: watch.DeviceMTU}} }

func (s sockets) Uplink(peer netip.Addr) (local netip.Addr, mtu int, err error) {
	err = s.ns.Do(func() (err error) {
		local, mtu, err = s.inner.Uplink(peer)
		return err
	})
	return local, mtu, err
}

func (s sockets) MTU(local netip.Addr) (mtu int, err error) {
	err = s.ns.Do(func() (err error) {
		mtu, err = s.inner.MTU(local)
		return err
	})
	return mtu, err
}

func (s sockets) Probe(ctx context.Context, peer netip.Addr, size int) (a pathmtu.Answer, err error) {
	err = s.ns.Do(func() (err error) {
		a, err = s.inner.Probe(ctx, peer, size)
		return err
	})
	return a, err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience bounds what is waited for on a busy machine.
const patience = 60 * time.Second

// logs passes a log on to the test.
type logs struct{ t *testing.T }

func (l logs) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}
