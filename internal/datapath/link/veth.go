// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/netns"
	"github.com/fairlead-io/fairlead/internal/datapath/sysctl"
)

// Veth describes the link of a pod.
type Veth struct {
	HostName string
	HostMAC  net.HardwareAddr
	PodName  string
	PodMAC   net.HardwareAddr
	Pod      *netns.NS
	MTU      int
}

// AddVeth makes the link, its pod end directly in the pod with its final name, and
// returns the index of its host end, which is still down: nothing can pass before
// programs are attached and SetUp is called.
func AddVeth(h *netlink.Handle, v Veth) (int, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = v.HostName, v.MTU, v.HostMAC
	device := netlink.NewVeth(attrs)
	device.PeerName, device.PeerHardwareAddr, device.PeerMTU = v.PodName, v.PodMAC, uint32(v.MTU)
	device.PeerNamespace = netlink.NsFd(v.Pod.FD())
	if err := h.LinkAdd(device); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return 0, fmt.Errorf("veth %s: the pod has an interface %q already: %w", v.HostName, v.PodName, err)
		}
		return 0, fmt.Errorf("veth %s: add: %w", v.HostName, err)
	}
	made, err := h.LinkByName(v.HostName)
	if err != nil {
		return 0, fmt.Errorf("veth %s: %w", v.HostName, err)
	}
	if err := prepareHostEnd(h, made, v.HostName); err != nil {
		return 0, errors.Join(fmt.Errorf("veth %s: %w", v.HostName, err), h.LinkDel(made))
	}
	return made.Attrs().Index, nil
}

func prepareHostEnd(h *netlink.Handle, l netlink.Link, name string) error {
	return errors.Join(
		sysctl.Write("net/ipv4/conf/"+name+"/rp_filter", "2"),
		sysctl.Write("net/ipv4/conf/"+name+"/forwarding", "1"),
		PrepareIPv6(h, l, name),
	)
}

// DeleteVeth removes a link by its host end; that there is none is no error. A device of
// that name that is no veth is not ours and is left alone.
func DeleteVeth(h *netlink.Handle, hostName string) error {
	l, err := h.LinkByName(hostName)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("veth %s: %w", hostName, err)
	}
	if l.Type() != "veth" {
		return fmt.Errorf("veth %s: a device of type %s has its name, not removing it", hostName, l.Type())
	}
	if err := h.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("veth %s: remove: %w", hostName, err)
	}
	return nil
}

// ConfigurePod gives the pod end its addresses, brings it up and makes the gateway of
// each family its default route. Addresses and gateways go together by index.
func ConfigurePod(pod *netns.NS, ifName string, addresses, gateways []netip.Addr) error {
	if err := pod.Do(func() error { return preparePodEnd(ifName, addresses) }); err != nil {
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
	for _, a := range addresses {
		if err := h.AddrAdd(l, HostAddress(a)); err != nil {
			return fmt.Errorf("pod interface %s: add address %s: %w", ifName, a, err)
		}
	}
	if err := h.LinkSetUp(l); err != nil {
		return fmt.Errorf("pod interface %s: set up: %w", ifName, err)
	}
	for _, gw := range gateways {
		if err := h.RouteAdd(defaultRoute(l.Attrs().Index, gw)); err != nil {
			return fmt.Errorf("pod interface %s: add default route by %s: %w", ifName, gw, err)
		}
	}
	return nil
}

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
func defaultRoute(ifindex int, gw netip.Addr) *netlink.Route {
	bits := gw.BitLen()
	return &netlink.Route{
		LinkIndex: ifindex,
		Dst:       &net.IPNet{IP: make(net.IP, bits/8), Mask: net.CIDRMask(0, bits)},
		Gw:        gw.AsSlice(),
		Flags:     int(netlink.FLAG_ONLINK),
	}
}

// CheckPod returns an error that says what of the pod end is not as ConfigurePod made it.
func CheckPod(pod *netns.NS, ifName string, mac net.HardwareAddr, mtu int, addresses, gateways []netip.Addr) error {
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
	if attrs.HardwareAddr.String() != mac.String() {
		return fmt.Errorf("pod interface %s: has MAC %s, not %s", ifName, attrs.HardwareAddr, mac)
	}
	if attrs.MTU != mtu {
		return fmt.Errorf("pod interface %s: has MTU %d, not %d", ifName, attrs.MTU, mtu)
	}
	have, err := h.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("pod interface %s: addresses: %w", ifName, err)
	}
	for _, a := range addresses {
		if !hasAddress(have, a) {
			return fmt.Errorf("pod interface %s: has no address %s", ifName, a)
		}
	}
	routes, err := h.RouteList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("pod interface %s: routes: %w", ifName, err)
	}
	for _, gw := range gateways {
		if !hasDefault(routes, gw) {
			return fmt.Errorf("pod interface %s: has no default route by %s", ifName, gw)
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

func hasDefault(routes []netlink.Route, gw netip.Addr) bool {
	for _, r := range routes {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones != 0 {
				continue
			}
		}
		if a, ok := netip.AddrFromSlice(r.Gw); ok && a.Unmap() == gw {
			return true
		}
	}
	return false
}

// SetNeighbours makes the host know the pod's MAC address for its addresses for good, so
// that it never asks the pod.
func SetNeighbours(h *netlink.Handle, ifindex int, mac net.HardwareAddr, addresses []netip.Addr) error {
	for _, a := range addresses {
		err := h.NeighSet(&netlink.Neigh{
			LinkIndex:    ifindex,
			Family:       family(a),
			State:        netlink.NUD_PERMANENT,
			IP:           a.AsSlice(),
			HardwareAddr: mac,
		})
		if err != nil {
			return fmt.Errorf("neighbour %s: %w", a, err)
		}
	}
	return nil
}

func family(a netip.Addr) int {
	if a.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}
