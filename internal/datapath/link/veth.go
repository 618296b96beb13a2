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

// Neighbour is what SetNeighbours makes of one address.
type Neighbour struct {
	Ifindex int
	Address netip.Addr
	MAC     string
}

// Neighbours returns all that the host knows for good.
func Neighbours(h *netlink.Handle) (map[Neighbour]bool, error) {
	out := map[Neighbour]bool{}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		all, err := h.NeighList(0, family)
		if err != nil {
			return nil, fmt.Errorf("neighbours: %w", err)
		}
		for _, n := range all {
			if a, ok := netip.AddrFromSlice(n.IP); ok && n.State&netlink.NUD_PERMANENT != 0 {
				out[Neighbour{n.LinkIndex, a.Unmap(), n.HardwareAddr.String()}] = true
			}
		}
	}
	return out, nil
}

func family(a netip.Addr) int {
	if a.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}
