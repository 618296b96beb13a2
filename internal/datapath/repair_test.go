// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestAHostEndThatSomebodyChanges: what is done to a pod's device on the host is put right
// the next time that the node's state is repeated, which every such change brings about.
func TestAHostEndThatSomebodyChanges(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*testing.T, *node, netlink.Link)
	}{
		{"set down and up", func(t *testing.T, n *node, host netlink.Link) {
			must(t, n.nl.LinkSetDown(host))
			must(t, n.nl.LinkSetUp(host))
		}},
		{"set down", func(t *testing.T, n *node, host netlink.Link) { must(t, n.nl.LinkSetDown(host)) }},
		{"its qdisc removed", func(t *testing.T, n *node, host netlink.Link) {
			must(t, n.nl.QdiscDel(&netlink.GenericQdisc{QdiscType: "clsact", QdiscAttrs: netlink.QdiscAttrs{
				LinkIndex: host.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}))
		}},
		{"a neighbour removed", func(t *testing.T, n *node, host netlink.Link) {
			all, err := n.nl.NeighList(host.Attrs().Index, netlink.FAMILY_V4)
			must(t, err)
			for _, one := range all {
				if one.State&unix.NUD_PERMANENT != 0 {
					must(t, n.nl.NeighDel(&one))
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newWorld(t, 1, false).nodes[0]
			changed, other := n.addPod(), n.addPod()
			n.syncPeers(t)
			host, err := n.nl.LinkByName(changed.ep.HostIf)
			must(t, err)
			attached := n.attachments(t)
			c.change(t, n, host)
			must(t, n.dp.Reconfigure(context.Background(), n.spec))
			must(t, n.dp.CheckEndpoint(context.Background(), changed.ep))
			for _, family := range []string{"IPv4", "IPv6"} {
				must(t, ping(n.space, changed.ip(family)))
				must(t, ping(other.space, changed.ip(family)))
				must(t, ping(changed.space, n.routerIP(family)))
			}
			before := n.attachments(t)
			if len(before) != len(attached) {
				t.Errorf("attached are %v, were %v", before, attached)
			}
		})
	}
}
