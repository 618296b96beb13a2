// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// space is a network namespace with a thread in it: bpf_fib_lookup asks for routes where
// the run's caller is.
type space struct {
	work   chan func()
	uplink device
	former device   // that was the uplink once
	pods   []device // of two pods of this node
}

// device is a device of the space.
type device struct {
	index uint32
	mac   [6]byte
}

func newSpace(t testing.TB) *space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("makes a network namespace and loads eBPF programs: run it as root (make test-bpf)")
	}
	s := &space{work: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
		made <- unix.Unshare(unix.CLONE_NEWNET)
		for fn := range s.work {
			fn()
		}
	}()
	must(t, <-made)
	t.Cleanup(func() { close(s.work) })
	s.do(func() {
		err := s.prepare()
		go func() { made <- err }()
	})
	must(t, <-made)
	return s
}

// do runs fn in the namespace and waits for it.
func (s *space) do(fn func()) {
	done := make(chan struct{})
	s.work <- func() { defer close(done); fn() }
	<-done
}

// The other ends of tunnels: known has a MAC address, silent has none, and to away there is
// no route. No node is at a stranger's address.
var (
	self6                = netip.MustParseAddr("fd64::1")
	known4, known6       = node4, netip.MustParseAddr("fd64::2")
	silent4, silent6     = netip.MustParseAddr("172.16.0.3"), netip.MustParseAddr("fd64::3")
	away4, away6         = netip.MustParseAddr("172.17.0.4"), netip.MustParseAddr("fd65::4")
	stranger4, stranger6 = netip.MustParseAddr("172.16.0.99"), netip.MustParseAddr("fd64::99")

	knownMAC = [6]byte{2, 0, 0, 0, 0xaa, 2}
)

// prepare makes the uplink with its neighbours, and routes by them to the first two ranges
// of other nodes.
func (s *space) prepare() error {
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/default/forwarding"} {
		if err := os.WriteFile("/proc/sys/"+name, []byte("1"), 0o644); err != nil {
			return err
		}
	}
	var err error
	if s.uplink, err = makeDevice("uplink", self4, self6); err != nil {
		return err
	}
	if s.former, err = makeDevice("former"); err != nil {
		return err
	}
	for _, name := range []string{"pod0", "pod1"} {
		pod, err := makeDevice(name)
		if err != nil {
			return err
		}
		s.pods = append(s.pods, pod)
	}
	index := int(s.uplink.index)
	var errs []error
	for _, a := range []netip.Addr{known4, known6} {
		errs = append(errs, netlink.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: knownMAC[:]}))
	}
	for i, via := range []netip.Addr{known4, silent4, known6, silent6} {
		to := append(farRanges4[:2:2], farRanges6[:2]...)[i]
		errs = append(errs, netlink.RouteAdd(&netlink.Route{LinkIndex: index, Gw: via.AsSlice(), Dst: networkOf(to)}))
	}
	return errors.Join(errs...)
}

// makeDevice makes a device with nobody at its other end.
func makeDevice(name string, addresses ...netip.Addr) (device, error) {
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "-end"}); err != nil {
		return device{}, err
	}
	end, err := netlink.LinkByName(name + "-end")
	if err != nil {
		return device{}, err
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		return device{}, err
	}
	errs := []error{netlink.LinkSetUp(end), netlink.LinkSetUp(l)}
	for _, a := range addresses {
		bits := 24
		if a.Is6() {
			bits = 64
		}
		errs = append(errs, netlink.AddrAdd(l, &netlink.Addr{IPNet: networkOf(netip.PrefixFrom(a, bits)), Flags: unix.IFA_F_NODAD}))
	}
	return device{uint32(l.Attrs().Index), [6]byte(l.Attrs().HardwareAddr)}, errors.Join(errs...)
}

func networkOf(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
