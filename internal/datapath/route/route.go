// SPDX-License-Identifier: Apache-2.0

// Package route keeps the host's routes to pods, as rows of a table. Its routes are those
// of protocol 177 in the main table; it touches no others.
//
// It must not know which prefix belongs to whom.
package route

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Protocol marks the routes of Fairlead (rtm_protocol).
const Protocol = 177

// Route says how a prefix is reached.
type Route struct {
	// Ifindex is the device, 0 for a prefix that is unreachable.
	Ifindex int
	// Via is the next hop on the device's network; invalid when the device leads there.
	Via netip.Addr
	// Source is what the host itself sends from; it may be invalid.
	Source netip.Addr
	// MTU is the largest IP packet, in bytes; 0: the device's.
	MTU int
}

// unreachableMetric lets any other route to the same prefix win.
const unreachableMetric = 1 << 20

// Kernel is the kernel's routing table as the backend of a table.
type Kernel struct{ Handle *netlink.Handle }

// Put adds or replaces the route to a prefix.
func (k Kernel) Put(dst netip.Prefix, r Route) error {
	err := k.Handle.RouteReplace(message(dst, r))
	if err != nil {
		return fmt.Errorf("route %s: %w", dst, err)
	}
	return nil
}

// Delete removes the route to a prefix.
func (k Kernel) Delete(dst netip.Prefix, r Route) error {
	err := k.Handle.RouteDel(message(dst, r))
	if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("route %s: %w", dst, err)
	}
	return nil
}

// List returns our routes.
func (k Kernel) List() (map[netip.Prefix]Route, error) {
	rows := map[netip.Prefix]Route{}
	filter := &netlink.Route{Protocol: Protocol, Table: unix.RT_TABLE_MAIN}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := k.Handle.RouteListFiltered(family, filter, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, err
		}
		for _, one := range routes {
			if dst, r, ok := row(one); ok {
				rows[dst] = r
			}
		}
	}
	return rows, nil
}

func message(dst netip.Prefix, r Route) *netlink.Route {
	m := &netlink.Route{
		Dst:      &net.IPNet{IP: dst.Addr().AsSlice(), Mask: net.CIDRMask(dst.Bits(), dst.Addr().BitLen())},
		Protocol: Protocol,
		Table:    unix.RT_TABLE_MAIN,
	}
	if r.Ifindex == 0 {
		m.Type, m.Priority = unix.RTN_UNREACHABLE, unreachableMetric
		return m
	}
	m.LinkIndex, m.Scope, m.MTU = r.Ifindex, netlink.SCOPE_LINK, r.MTU
	if r.Via.IsValid() {
		m.Gw, m.Scope = r.Via.AsSlice(), netlink.SCOPE_UNIVERSE
	}
	if r.Source.IsValid() {
		m.Src = r.Source.AsSlice()
	}
	return m
}

func row(m netlink.Route) (netip.Prefix, Route, bool) {
	if m.Dst == nil {
		return netip.Prefix{}, Route{}, false
	}
	addr, ok := netip.AddrFromSlice(m.Dst.IP)
	if !ok {
		return netip.Prefix{}, Route{}, false
	}
	ones, _ := m.Dst.Mask.Size()
	dst := netip.PrefixFrom(addr.Unmap(), ones)
	if m.Type == unix.RTN_UNREACHABLE {
		return dst, Route{}, true
	}
	r := Route{Ifindex: m.LinkIndex, MTU: m.MTU}
	if via, ok := netip.AddrFromSlice(m.Gw); ok {
		r.Via = via.Unmap()
	}
	if src, ok := netip.AddrFromSlice(m.Src); ok {
		r.Source = src.Unmap()
	}
	return dst, r, true
}
