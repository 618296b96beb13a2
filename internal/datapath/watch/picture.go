// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/route"
)

// picture is what the network of a namespace looks like, as far as it matters to us.
type picture struct {
	devices   map[int]device
	addresses map[address]bool
	routes    map[string]bool // as text: routes have many fields, and all of them count
	ours      map[string]bool // destinations of our routes
}

type device struct {
	name, kind, mac string
	mtu, master     int
	up, carrier     bool
}

type address struct {
	device int
	prefix string
}

func (p picture) equal(o picture) bool {
	return p.devices != nil && o.devices != nil &&
		maps.Equal(p.devices, o.devices) && maps.Equal(p.addresses, o.addresses) && maps.Equal(p.routes, o.routes)
}

// concerns says whether a notification about a route may change the picture. Hosts that
// speak a routing protocol have many others.
func (p picture) concerns(r netlink.Route) bool {
	return matters(&r) || r.Dst != nil && p.ours[r.Dst.String()]
}

// matters says whether a route is part of the picture: it is ours, or a default route.
func matters(r *netlink.Route) bool {
	if r.Table != unix.RT_TABLE_MAIN {
		return false
	}
	if r.Protocol == route.Protocol || r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}

// look takes a picture.
func look(h *netlink.Handle) (picture, error) {
	p := picture{devices: map[int]device{}, addresses: map[address]bool{}, routes: map[string]bool{}, ours: map[string]bool{}}
	links, err := h.LinkList()
	if err != nil {
		return picture{}, fmt.Errorf("devices: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		p.devices[a.Index] = device{
			name: a.Name, kind: l.Type(), mac: a.HardwareAddr.String(), mtu: a.MTU, master: a.MasterIndex,
			up: a.Flags&net.FlagUp != 0, carrier: a.RawFlags&unix.IFF_LOWER_UP != 0,
		}
	}
	addresses, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return picture{}, fmt.Errorf("addresses: %w", err)
	}
	for _, a := range addresses {
		p.addresses[address{a.LinkIndex, a.IPNet.String()}] = true
	}
	main := &netlink.Route{Table: unix.RT_TABLE_MAIN}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		err := h.RouteListFilteredIter(family, main, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			if matters(&r) {
				p.routes[fmt.Sprintf("%d %s %d %d %d %d", family, r, r.Protocol, r.Type, r.Priority, r.MTU)] = true
				if r.Protocol == route.Protocol && r.Dst != nil {
					p.ours[r.Dst.String()] = true
				}
			}
			return true
		})
		if err != nil {
			return picture{}, fmt.Errorf("routes: %w", err)
		}
	}
	return p, nil
}

// DeviceMTU returns the MTU in bytes of the device that has an address, in the network
// namespace of the calling thread.
func DeviceMTU(addr netip.Addr) (int, error) {
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return 0, fmt.Errorf("addresses: %w", err)
	}
	for _, a := range addresses {
		if have, ok := netip.AddrFromSlice(a.IP); !ok || have.Unmap() != addr {
			continue
		}
		l, err := netlink.LinkByIndex(a.LinkIndex)
		if err != nil {
			return 0, fmt.Errorf("device of address %s: %w", addr, err)
		}
		return l.Attrs().MTU, nil
	}
	return 0, fmt.Errorf("address %s is on no device of this machine", addr)
}

// DevicesOf returns the names of the devices that have one of these addresses, sorted, in
// the network namespace of the calling thread.
func DevicesOf(addrs []netip.Addr) ([]string, error) {
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("addresses: %w", err)
	}
	var names []string
	for _, a := range addresses {
		if have, ok := netip.AddrFromSlice(a.IP); !ok || !slices.Contains(addrs, have.Unmap()) {
			continue
		}
		l, err := netlink.LinkByIndex(a.LinkIndex)
		if err != nil {
			return nil, fmt.Errorf("device of address %s: %w", a.IP, err)
		}
		names = append(names, l.Attrs().Name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
