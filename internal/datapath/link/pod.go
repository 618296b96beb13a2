// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/netns"
	"github.com/fairlead-io/fairlead/internal/datapath/sysctl"
)

// PodInterface describes the pod's end of its link.
type PodInterface struct {
	Name      string
	MAC       net.HardwareAddr
	MTU       int // of the interface
	RouteMTU  int // of the default routes
	Addresses []netip.Addr
	Gateways  []netip.Addr // of the address with the same index
}

// ConfigurePod gives the pod end its addresses, brings it up and makes the gateway of
// each family its default route.
func ConfigurePod(pod *netns.NS, p PodInterface) error {
	ifName := p.Name
	if err := pod.Do(func() error { return preparePodEnd(ifName, p.Addresses) }); err != nil {
		return err
	}
	h, err := netlink.NewHandleAt(nsHandle(pod), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("pod interface %s: %w", ifName, err)
	}
	defer h.Close()
	l, err := h.LinkByName(ifName)
	if err != nil {
		return fmt.Errorf("pod interface %s: %w", ifName, err)
	}
	for _, a := range p.Addresses {
		if err := h.AddrAdd(l, HostAddress(a)); err != nil {
			return fmt.Errorf("pod interface %s: add address %s: %w", ifName, a, err)
		}
	}
	if err := h.LinkSetUp(l); err != nil {
		return fmt.Errorf("pod interface %s: set up: %w", ifName, err)
	}
	for _, gw := range p.Gateways {
		if err := h.RouteAdd(defaultRoute(l.Attrs().Index, gw, p.RouteMTU)); err != nil {
			return fmt.Errorf("pod interface %s: add default route by %s: %w", ifName, gw, err)
		}
	}
	return nil
}

// AdjustPod gives an interface that ConfigurePod made another MTU, and its default routes
// another RouteMTU.
func AdjustPod(pod *netns.NS, p PodInterface) error {
	h, err := netlink.NewHandleAt(nsHandle(pod), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("pod interface %s: %w", p.Name, err)
	}
	defer h.Close()
	if err := SetMTU(h, p.Name, p.MTU); err != nil {
		return err
	}
	l, err := h.LinkByName(p.Name)
	if err != nil {
		return fmt.Errorf("pod interface %s: %w", p.Name, err)
	}
	for _, gw := range p.Gateways {
		if err := h.RouteReplace(defaultRoute(l.Attrs().Index, gw, p.RouteMTU)); err != nil {
			return fmt.Errorf("pod interface %s: default route by %s: set MTU %d: %w", p.Name, gw, p.RouteMTU, err)
		}
	}
	return nil
}

// SetMTU gives a device an MTU in bytes.
func SetMTU(h *netlink.Handle, name string, mtu int) error {
	l, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("device %s: %w", name, err)
	}
	if l.Attrs().MTU == mtu {
		return nil
	}
	if err := h.LinkSetMTU(l, mtu); err != nil {
		return fmt.Errorf("device %s: set MTU %d: %w", name, mtu, err)
	}
	return nil
}

// AwaitRunning waits until the pod end can send and receive. The kernel notices some time
// after the host's end is up, and drops what the pod sends before; and an IPv6 address is
// the pod's only when a worker of the kernel has got to it, also without duplicate address
// detection.
func AwaitRunning(ctx context.Context, pod *netns.NS, p PodInterface) error {
	h, err := netlink.NewHandleAt(nsHandle(pod), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("pod interface %s: %w", p.Name, err)
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(ctx, runningTimeout)
	defer cancel()
	for {
		missing, err := notRunning(h, p)
		if err != nil {
			return fmt.Errorf("pod interface %s: %w", p.Name, err)
		}
		if missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("pod interface %s: %s: %w", p.Name, missing, ctx.Err())
		case <-time.After(runningPoll):
		}
	}
}

// notRunning says what an interface still waits for, "" for nothing.
func notRunning(h *netlink.Handle, p PodInterface) (string, error) {
	l, err := h.LinkByName(p.Name)
	if err != nil {
		return "", err
	}
	if state := l.Attrs().OperState; state != netlink.OperUp {
		return fmt.Sprintf("is %s, not up", state), nil
	}
	for _, a := range p.Addresses {
		if a.Is4() {
			continue
		}
		routes, err := h.RouteGet(a.AsSlice())
		if err != nil || len(routes) == 0 || routes[0].Type != unix.RTN_LOCAL {
			return fmt.Sprintf("address %s is not in use yet", a), nil
		}
	}
	return "", nil
}

const (
	runningTimeout = 5 * time.Second
	runningPoll    = time.Millisecond
)

// preparePodEnd switches IPv6 on where a runtime has switched it off for new interfaces,
// and router advertisements off.
func preparePodEnd(ifName string, addresses []netip.Addr) error {
	conf := "net/ipv6/conf/" + ifName + "/"
	for _, a := range addresses {
		if !a.Is6() {
			continue
		}
		if !sysctl.Exists(conf + "disable_ipv6") {
			return fmt.Errorf("pod interface %s: the kernel has no IPv6 but address %s is wanted", ifName, a)
		}
		if err := errors.Join(sysctl.Write(conf+"disable_ipv6", "0"), sysctl.Write(conf+"accept_ra", "0")); err != nil {
			return err
		}
	}
	return nil
}

// defaultRoute is through a gateway that no prefix of the pod contains.
func defaultRoute(ifindex int, gw netip.Addr, mtu int) *netlink.Route {
	bits := gw.BitLen()
	return &netlink.Route{
		LinkIndex: ifindex,
		Dst:       &net.IPNet{IP: make(net.IP, bits/8), Mask: net.CIDRMask(0, bits)},
		Gw:        gw.AsSlice(),
		Flags:     int(netlink.FLAG_ONLINK),
		MTU:       mtu,
	}
}

// CheckPod returns an error that says what of the pod end is not as ConfigurePod made it.
func CheckPod(pod *netns.NS, p PodInterface) error {
	ifName := p.Name
	h, err := netlink.NewHandleAt(nsHandle(pod), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("pod interface %s: %w", ifName, err)
	}
	defer h.Close()
	l, err := h.LinkByName(ifName)
	if err != nil {
		return fmt.Errorf("pod interface %s: %w", ifName, err)
	}
	attrs := l.Attrs()
	if attrs.Flags&net.FlagUp == 0 {
		return fmt.Errorf("pod interface %s: is down", ifName)
	}
	if attrs.HardwareAddr.String() != p.MAC.String() {
		return fmt.Errorf("pod interface %s: has MAC %s, not %s", ifName, attrs.HardwareAddr, p.MAC)
	}
	if attrs.MTU != p.MTU {
		return fmt.Errorf("pod interface %s: has MTU %d, not %d", ifName, attrs.MTU, p.MTU)
	}
	have, err := h.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("pod interface %s: addresses: %w", ifName, err)
	}
	for _, a := range p.Addresses {
		if !hasAddress(have, a) {
			return fmt.Errorf("pod interface %s: has no address %s", ifName, a)
		}
	}
	routes, err := h.RouteList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("pod interface %s: routes: %w", ifName, err)
	}
	for _, gw := range p.Gateways {
		if !hasDefault(routes, gw, p.RouteMTU) {
			return fmt.Errorf("pod interface %s: has no default route by %s with MTU %d", ifName, gw, p.RouteMTU)
		}
	}
	return nil
}

func hasAddress(have []netlink.Addr, want netip.Addr) bool {
	for _, h := range have {
		if a, ok := netip.AddrFromSlice(h.IP); ok && a.Unmap() == want {
			return true
		}
	}
	return false
}

func hasDefault(routes []netlink.Route, gw netip.Addr, mtu int) bool {
	for _, r := range routes {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones != 0 {
				continue
			}
		}
		if a, ok := netip.AddrFromSlice(r.Gw); ok && a.Unmap() == gw && r.MTU == mtu {
			return true
		}
	}
	return false
}
