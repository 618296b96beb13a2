// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/sysctl"
)

// Tunnel describes the VXLAN device: one for all peers and both families, whose packets
// carry their destination with them.
type Tunnel struct {
	Name string
	Port uint16
	MAC  net.HardwareAddr
	MTU  int
}

// EnsureTunnel makes the tunnel device, or brings an existing one to this description,
// and returns its index. A device that differs in what cannot be changed is replaced.
// The device is left down if it is new, so that programs can be attached first.
func EnsureTunnel(h *netlink.Handle, t Tunnel) (int, error) {
	existing, err := h.LinkByName(t.Name)
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing):
		return addTunnel(h, t)
	case err != nil:
		return 0, fmt.Errorf("device %s: %w", t.Name, err)
	}
	if vx, ok := existing.(*netlink.Vxlan); !ok || !vx.FlowBased || vx.Port != int(t.Port) || !vx.UDP6ZeroCSumRx {
		if err := h.LinkDel(existing); err != nil {
			return 0, fmt.Errorf("device %s: remove the one that is there: %w", t.Name, err)
		}
		return addTunnel(h, t)
	}
	attrs := existing.Attrs()
	if attrs.MTU != t.MTU {
		if err := h.LinkSetMTU(existing, t.MTU); err != nil {
			return 0, fmt.Errorf("device %s: set MTU %d: %w", t.Name, t.MTU, err)
		}
	}
	if !bytes.Equal(attrs.HardwareAddr, t.MAC) {
		if err := h.LinkSetHardwareAddr(existing, t.MAC); err != nil {
			return 0, fmt.Errorf("device %s: set MAC %s: %w", t.Name, t.MAC, err)
		}
	}
	return attrs.Index, nil
}

func addTunnel(h *netlink.Handle, t Tunnel) (int, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = t.Name, t.MTU, t.MAC
	device := &netlink.Vxlan{
		LinkAttrs: attrs, FlowBased: true, Port: int(t.Port),
		UDP6ZeroCSumRx: true, UDP6ZeroCSumTx: true, // what add_outer6 sends has none
	}
	if err := h.LinkAdd(device); err != nil {
		return 0, fmt.Errorf("device %s: add VXLAN on UDP port %d: %w", t.Name, t.Port, err)
	}
	made, err := h.LinkByName(t.Name)
	if err != nil {
		return 0, fmt.Errorf("device %s: %w", t.Name, err)
	}
	err = errors.Join(
		// Nobody is to be asked for a neighbour, and no address makes itself.
		h.LinkSetARPOff(made),
		sysctl.Write("net/ipv4/conf/"+t.Name+"/rp_filter", "2"),
		sysctl.Write("net/ipv4/conf/"+t.Name+"/forwarding", "1"),
		PrepareIPv6(h, made, t.Name),
	)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("device %s: %w", t.Name, err), h.LinkDel(made))
	}
	return made.Attrs().Index, nil
}

// PrepareIPv6 makes a device of ours forward IPv6 without making itself addresses. It
// does nothing where the kernel has no IPv6.
func PrepareIPv6(h *netlink.Handle, l netlink.Link, name string) error {
	conf := "net/ipv6/conf/" + name + "/"
	if !sysctl.Exists(conf + "disable_ipv6") {
		return nil
	}
	const none = 1 // IN6_ADDR_GEN_MODE_NONE
	return errors.Join(
		sysctl.Write(conf+"disable_ipv6", "0"),
		sysctl.Write(conf+"forwarding", "1"),
		sysctl.Write(conf+"accept_ra", "0"),
		h.LinkSetIP6AddrGenMode(l, none),
	)
}

// SetUp brings a device up.
func SetUp(h *netlink.Handle, name string) error {
	l, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("device %s: %w", name, err)
	}
	if err := h.LinkSetUp(l); err != nil {
		if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("device %s: its UDP port is used by another tunnel device, choose another tunnel port: %w", name, err)
		}
		return fmt.Errorf("device %s: set up: %w", name, err)
	}
	return nil
}

// SyncAddresses gives a device exactly these host addresses. Link-local addresses are
// left alone.
func SyncAddresses(h *netlink.Handle, name string, want []netip.Addr) error {
	l, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("device %s: %w", name, err)
	}
	have, err := h.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("device %s: addresses: %w", name, err)
	}
	wanted := map[netip.Addr]bool{}
	for _, a := range want {
		wanted[a] = true
		if err := h.AddrReplace(l, HostAddress(a)); err != nil {
			return fmt.Errorf("device %s: add address %s: %w", name, a, err)
		}
	}
	for i := range have {
		a, ok := netip.AddrFromSlice(have[i].IP)
		if !ok || wanted[a.Unmap()] || a.IsLinkLocalUnicast() {
			continue
		}
		if err := h.AddrDel(l, &have[i]); err != nil {
			return fmt.Errorf("device %s: remove address %s: %w", name, a, err)
		}
	}
	return nil
}

// HostAddress returns an address with a prefix of its own length, usable at once: the
// datapath sees to it that no two are the same, so none is probed for.
func HostAddress(a netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{IPNet: HostNet(a)}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

// HostNet returns the network of one address.
func HostNet(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}
