// SPDX-License-Identifier: Apache-2.0

package topo

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/netns"
)

// Space is a network namespace with a netlink handle in it; lo is up.
type Space struct {
	*netns.NS
	nl *netlink.Handle
}

// NewSpace makes a network namespace.
func NewSpace() (*Space, error) {
	type made struct {
		ns  *netns.NS
		err error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- made{err: fmt.Errorf("make a network namespace: %w", err)}
			return
		}
		ns, err := netns.Current()
		done <- made{ns, err}
	}()
	m := <-done
	if m.err != nil {
		return nil, m.err
	}
	nl, err := netlink.NewHandleAt(vnetns.NsHandle(m.ns.FD()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(err, m.ns.Close())
	}
	s := &Space{m.ns, nl}
	if err := s.up("lo"); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close lets go of the namespace; it ends when no process is in it.
func (s *Space) Close() error {
	s.nl.Close()
	return s.NS.Close()
}

// Path is one by which the namespace can be opened while this process runs.
func (s *Space) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.FD()) }

// up gives a device addresses and sets it up.
func (s *Space) up(device string, addresses ...netip.Prefix) error {
	l, err := s.nl.LinkByName(device)
	if err != nil {
		return fmt.Errorf("device %s: %w", device, err)
	}
	for _, a := range addresses {
		given := &netlink.Addr{IPNet: ipNet(a)}
		if a.Addr().Is6() {
			given.Flags = unix.IFA_F_NODAD
		}
		if err := s.nl.AddrAdd(l, given); err != nil {
			return fmt.Errorf("device %s: address %s: %w", device, a, err)
		}
	}
	if err := s.nl.LinkSetUp(l); err != nil {
		return fmt.Errorf("device %s: set up: %w", device, err)
	}
	return nil
}

// route adds a route. A flag says that the gateway is reached directly although no
// address of the device says so.
func (s *Space) route(device string, to netip.Prefix, via netip.Addr, flags int) error {
	l, err := s.nl.LinkByName(device)
	if err != nil {
		return fmt.Errorf("device %s: %w", device, err)
	}
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(to), Gw: via.AsSlice(), Flags: flags}
	if err := s.nl.RouteAdd(r); err != nil {
		return fmt.Errorf("device %s: route to %s via %s: %w", device, to, via, err)
	}
	return nil
}

// sysctls sets settings below /proc/sys/net of the namespace.
func (s *Space) sysctls(value string, names ...string) error {
	return s.Do(func() error {
		for _, n := range names {
			if err := os.WriteFile(filepath.Join("/proc/sys/net", n), []byte(value), 0o644); err != nil {
				return fmt.Errorf("sysctl net/%s: %w", n, err)
			}
		}
		return nil
	})
}

// forward makes the namespace a router of both families.
func (s *Space) forward() error {
	return s.sysctls("1", "ipv4/ip_forward", "ipv6/conf/all/forwarding")
}

// noBridgeFilter lets bridges pass frames without asking the firewall. It is off where
// the kernel's br_netfilter is not loaded.
func (s *Space) noBridgeFilter() error {
	if _, err := os.Stat("/proc/sys/net/bridge"); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return s.sysctls("0", "bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables", "bridge/bridge-nf-call-arptables")
}

// bridge makes a bridge with addresses.
func (s *Space) bridge(name string, addresses ...netip.Prefix) error {
	if err := s.noBridgeFilter(); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if err := s.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("bridge %s: %w", name, err)
	}
	return s.up(name, addresses...)
}

// plug joins another namespace's device to a bridge here, by a veth whose end here is port.
func (s *Space) plug(bridge, port string, other *Space, device string, mtu int) error {
	if err := s.wire(port, other, device, mtu); err != nil {
		return err
	}
	master, err := s.nl.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", bridge, err)
	}
	l, err := s.nl.LinkByName(port)
	if err != nil {
		return fmt.Errorf("port %s: %w", port, err)
	}
	if err := s.nl.LinkSetMaster(l, master); err != nil {
		return fmt.Errorf("port %s of bridge %s: %w", port, bridge, err)
	}
	return s.up(port)
}

// wire joins two namespaces by a veth; both ends are down.
func (s *Space) wire(here string, other *Space, there string, mtu int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = here, mtu
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerMTU, veth.PeerNamespace = there, uint32(mtu), netlink.NsFd(other.FD())
	if err := s.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("veth %s to %s: %w", here, there, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
