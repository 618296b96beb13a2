// SPDX-License-Identifier: Apache-2.0

package link

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/netns"
)

func nsHandle(ns *netns.NS) vnetns.NsHandle { return vnetns.NsHandle(ns.FD()) }

// HandleAt returns a route netlink handle that works in a namespace from any thread.
func HandleAt(ns *netns.NS) (*netlink.Handle, error) {
	h, err := netlink.NewHandleAt(nsHandle(ns), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return h, nil
}

// Device is what callers need to know of a device.
type Device struct {
	Name  string
	Index int
	Type  string
	MTU   int
	Up    bool
	MAC   net.HardwareAddr
	// Ethernet tells devices whose packets have an Ethernet header.
	Ethernet bool
}

// List returns all devices by their name.
func List(h *netlink.Handle) (map[string]Device, error) {
	links, err := h.LinkList()
	if err != nil {
		return nil, fmt.Errorf("devices: %w", err)
	}
	devices := make(map[string]Device, len(links))
	for _, l := range links {
		a := l.Attrs()
		devices[a.Name] = Device{Name: a.Name, Index: a.Index, Type: l.Type(), MTU: a.MTU, Up: a.Flags&net.FlagUp != 0, MAC: a.HardwareAddr, Ethernet: a.EncapType == "ether"}
	}
	return devices, nil
}
