// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// snapshot lists all that the datapath could leave on a machine: devices, addresses,
// routes, rules, neighbours, qdiscs, nftables, pins and host-wide settings.
func (n *node) snapshot(t *testing.T) []string {
	t.Helper()
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	links, err := n.nl.LinkList()
	must(t, err)
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
		add("device %s %s", l.Attrs().Name, l.Type())
	}
	addrs, err := n.nl.AddrList(nil, netlink.FAMILY_ALL)
	must(t, err)
	for _, a := range addrs {
		if a.IP.IsLinkLocalUnicast() {
			continue
		}
		add("address %s on %s", a.IPNet, names[a.LinkIndex])
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := n.nl.RouteListFiltered(family, &netlink.Route{Table: 0}, netlink.RT_FILTER_TABLE)
		must(t, err)
		for _, r := range routes {
			// Link-local addresses of the uplink appear when they please.
			if r.Dst == nil || !r.Dst.IP.IsMulticast() && !r.Dst.IP.IsLinkLocalUnicast() {
				add("route %v dev %s type %d protocol %d", r.Dst, names[r.LinkIndex], r.Type, r.Protocol)
			}
		}
		rules, err := n.nl.RuleList(family)
		must(t, err)
		for _, r := range rules {
			add("rule %s", r)
		}
		neighbours, err := n.nl.NeighList(0, family)
		must(t, err)
		for _, one := range neighbours {
			if one.State == netlink.NUD_PERMANENT {
				add("neighbour %s dev %s", one.IP, names[one.LinkIndex])
			}
		}
	}
	qdiscs, err := n.nl.QdiscList(nil)
	must(t, err)
	for _, q := range qdiscs {
		if q.Type() == "clsact" {
			add("qdisc clsact of %s", names[q.Attrs().LinkIndex])
		}
	}
	conn, err := nftables.New(nftables.WithNetNSFd(n.FD()))
	must(t, err)
	tables, err := conn.ListTables()
	must(t, err)
	for _, table := range tables {
		add("nftables table %s", table.Name)
	}
	must(t, filepath.WalkDir(n.bpffs, func(path string, _ fs.DirEntry, err error) error {
		add("pin %s", strings.TrimPrefix(path, n.bpffs))
		return err
	}))
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/eth0/accept_ra", "net/ipv4/conf/all/rp_filter"} {
		add("sysctl %s = %s", name, n.sysctl(t, name))
	}
	all = append(all, n.mapRows(t)...)
	slices.Sort(all)
	return all
}

// mapRows lists the rows of pods and peers, none when nothing is pinned.
func (n *node) mapRows(t *testing.T) []string {
	t.Helper()
	var rows []string
	for _, name := range []string{"fl_endpoints", "fl_ranges"} {
		m, err := ebpf.LoadPinnedMap(filepath.Join(n.bpffs, "fairlead/maps/v2", name), nil)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		must(t, err)
		var key, value []byte
		all := m.Iterate()
		for all.Next(&key, &value) {
			rows = append(rows, fmt.Sprintf("row %s %x = %x", name, key, value))
		}
		must(t, errors.Join(all.Err(), m.Close()))
	}
	return rows
}

// attachments returns, by its pin, what stays the same of an attachment when its program
// is exchanged: the kernel's number of a link, the note of a filter.
func (n *node) attachments(t *testing.T) map[string]string {
	t.Helper()
	dir := filepath.Join(n.bpffs, "fairlead/links")
	pins, err := os.ReadDir(dir)
	must(t, err)
	same := map[string]string{}
	for _, pin := range pins {
		path := filepath.Join(dir, pin.Name())
		if note, err := os.Readlink(path); err == nil {
			same[pin.Name()] = note
			continue
		}
		l, err := link.LoadPinnedLink(path, nil)
		must(t, err)
		info, err := l.Info()
		must(t, errors.Join(err, l.Close()))
		same[pin.Name()] = fmt.Sprint("link ", info.ID)
	}
	return same
}

func (n *node) sysctl(t *testing.T, name string) string {
	t.Helper()
	var b []byte
	must(t, n.Do(func() (err error) {
		b, err = os.ReadFile("/proc/sys/" + name)
		return err
	}))
	return strings.TrimSpace(string(b))
}

func (n *node) cleanup(t *testing.T) {
	t.Helper()
	must(t, n.Do(func() error { return datapath.Cleanup(context.Background(), n.opts) }))
}
