// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Port is the inner end of a cable: the interface eth0 of a machine.
type Port struct {
	Netns     string         // The machine's namespace, which must exist.
	Cable     string         // Name of the outer end, in the router's namespace.
	Bridge    string         // The bridge there.
	MAC       string         // Of eth0; empty for a random one.
	Addresses []netip.Prefix // With the network's length.
	Gateways  []netip.Addr   // Default routes.
}

// EnsureRouter makes the router's namespace forward and gives it nothing else.
func EnsureRouter(router string) error {
	if err := Create(router); err != nil {
		return err
	}
	return Inside(router, func() error {
		if err := linkUp("lo"); err != nil {
			return err
		}
		return sysctls("net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1")
	})
}

// EnsureBridge makes a bridge in the router's namespace, with the router's addresses on it.
func EnsureBridge(router, name string, addresses []netip.Prefix) error {
	return Inside(router, func() error {
		b := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, HardwareAddr: bridgeMAC(name)}}
		if err := netlink.LinkAdd(b); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("cannot add the bridge %s: %w", name, err)
		}
		return configure(name, addresses, nil)
	})
}

// bridgeMAC gives a bridge an address of its own. Without one it has the lowest of its
// ports', which changes when a machine comes or goes, and the other machines then send
// to a router that is not there any more until their neighbour entries expire.
func bridgeMAC(name string) net.HardwareAddr {
	sum := sha256.Sum256([]byte(name))
	return net.HardwareAddr{0x02, 0xfa, 0x1e, sum[0], sum[1], sum[2]}
}

// Plug lays the cable from a bridge of the router to a machine's eth0 and configures eth0. A cable
// that is there is left, an outer end whose machine has gone is replaced.
func Plug(router string, p Port) error {
	inner, err := netns.GetFromPath(Path(p.Netns))
	if err != nil {
		return fmt.Errorf("no network namespace %s: %w", p.Netns, err)
	}
	defer inner.Close()
	if err := Inside(router, func() error { return lay(p, inner) }); err != nil {
		return err
	}
	return Inside(p.Netns, func() error {
		if err := linkUp("lo"); err != nil {
			return err
		}
		if err := sysctls("net/ipv6/conf/eth0/accept_ra=0", "net/ipv6/conf/eth0/accept_dad=0"); err != nil {
			return err
		}
		return configure("eth0", p.Addresses, p.Gateways)
	})
}

// Unplug takes a cable away. One that is not there is no error.
func Unplug(router, cable string) error {
	if !Exists(router) {
		return nil
	}
	return Inside(router, func() error { return unplug(cable) })
}

// RemoveBridge removes a bridge from the router. One that is not there is no error.
func RemoveBridge(router, name string) error { return Unplug(router, name) }

// unplug expects that the kernel may be removing the cable at the same time, with its machine.
func unplug(cable string) error {
	l, err := netlink.LinkByName(cable)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("cannot remove the cable %s: %w", cable, err)
	}
	return nil
}

// Forwarding makes a machine forward packets, as a Kubernetes node has to.
func Forwarding(name string) error {
	return Inside(name, func() error {
		return sysctls("net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1")
	})
}

func lay(p Port, inner netns.NsHandle) error {
	if has(inner, "eth0") {
		return nil
	}
	if err := unplug(p.Cable); err != nil {
		return err
	}
	bridge, err := netlink.LinkByName(p.Bridge)
	if err != nil {
		return fmt.Errorf("no bridge %s: %w", p.Bridge, err)
	}
	mac, err := hardwareAddr(p.MAC)
	if err != nil {
		return err
	}
	veth := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: p.Cable, MasterIndex: bridge.Attrs().Index},
		PeerName:         "eth0",
		PeerNamespace:    netlink.NsFd(inner),
		PeerHardwareAddr: mac,
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("cannot lay the cable %s: %w", p.Cable, err)
	}
	return linkUp(p.Cable)
}

func has(ns netns.NsHandle, link string) bool {
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return false
	}
	defer h.Close()
	_, err = h.LinkByName(link)
	return err == nil
}

func configure(link string, addresses []netip.Prefix, gateways []netip.Addr) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}}
		if a.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD // Usable at once.
		}
		if err := netlink.AddrReplace(l, addr); err != nil {
			return fmt.Errorf("cannot give %s the address %s: %w", link, a, err)
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	for _, g := range gateways {
		if err := netlink.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: g.AsSlice()}); err != nil {
			return fmt.Errorf("cannot set the default route through %s: %w", g, err)
		}
	}
	return nil
}

// Route adds a route in a namespace, or leaves it as it is.
func Route(name string, to netip.Prefix, via netip.Addr) error {
	return Inside(name, func() error {
		err := netlink.RouteReplace(&netlink.Route{
			Dst: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())},
			Gw:  via.AsSlice(),
		})
		if err != nil {
			return fmt.Errorf("cannot route %s by %s in %s: %w", to, via, name, err)
		}
		return nil
	})
}

// Unroute removes a route in a namespace. One that is not there is no error.
func Unroute(name string, to netip.Prefix) error {
	return Inside(name, func() error {
		err := netlink.RouteDel(&netlink.Route{Dst: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())}})
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("cannot remove the route to %s in %s: %w", to, name, err)
		}
		return nil
	})
}

func linkUp(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

// sysctls sets values below /proc/sys/net, which belong to the calling thread's network namespace.
func sysctls(pairs ...string) error {
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil {
			return fmt.Errorf("cannot set the sysctl %s (is /proc/sys writable?): %w", name, err)
		}
	}
	return nil
}

func hardwareAddr(s string) (net.HardwareAddr, error) {
	if s == "" {
		return nil, nil
	}
	return net.ParseMAC(s)
}
