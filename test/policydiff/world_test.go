// SPDX-License-Identifier: Apache-2.0

package policydiff

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	bpflink "github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/datapath/netns"
	"github.com/fairlead-io/fairlead/internal/datapath/netns/netnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Addresses beside those of pods and nodes.
var (
	outsiders = []netip.Addr{netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::5"), netip.MustParseAddr("2001:db8:1::7")}
	gateways  = []netip.Addr{netip.MustParseAddr("10.244.1.1"), netip.MustParseAddr("fd00:10:244:1::1")}
	defaults  = []string{"192.168.100.254", "fd64::fe"}
)

// flowEntries is room for all connections of a long run: those without a row are judged by each
// packet, so that answers are not told from questions.
const flowEntries = 1 << 20

// space is a network namespace with a netlink handle in it.
type space struct {
	*netns.NS
	nl *netlink.Handle
}

// world is the node under test, and one namespace that is all the others: the other nodes, their
// pods, and the outside. Routing is native, so packets are the same on either side.
type world struct {
	t          *testing.T
	services   bool // the node translates them
	node, rest space
	pods       [slotsHere]space
	endpoints  map[int]datapath.Endpoint // by place
	dp         *datapath.Datapath
	uplink     netlink.Link
}

func newWorld(t *testing.T, services bool) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("makes network namespaces and loads eBPF programs: run it as root (make test-bpf)")
	}
	w := &world{t: t, services: services, node: newSpace(t), rest: newSpace(t), endpoints: map[int]datapath.Endpoint{}}
	for i := range w.pods {
		w.pods[i] = newSpace(t)
	}
	w.connect()
	bpffs := t.TempDir()
	must(t, unix.Mount("bpf", bpffs, "bpf", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(bpffs, unix.MNT_DETACH)) })
	opts := datapath.Options{
		BPFFS: bpffs, Masquerade: true, Routing: datapath.RoutingNative, Policies: true, Services: services, FlowEntries: flowEntries,
		Log: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if services {
		opts.CgroupRoot = newCgroup(t)
	}
	spec := datapath.Node{
		Name: own, Addresses: addressesOf(1), PodCIDRs: podCIDRs(1),
		ClusterPodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/48")},
	}
	must(t, w.node.Do(func() (err error) {
		w.dp, err = datapath.Open(context.Background(), opts, spec)
		return err
	}))
	t.Cleanup(func() { must(t, w.dp.Close()) })
	var peers []datapath.Peer
	for n := 2; n <= nodes; n++ {
		peers = append(peers, datapath.Peer{Name: nodeName(n), PodCIDRs: podCIDRs(n), Addresses: addressesOf(n)})
	}
	must(t, w.dp.SyncPeers(context.Background(), peers))
	return w
}

func podCIDRs(node int) (out []netip.Prefix) {
	for i, bits := range []int{24, 64} {
		out = append(out, netip.PrefixFrom(addressesAt(node, 0)[i], bits).Masked())
	}
	return out
}

// connect joins the node's uplink with the rest, and gives the latter its many addresses.
func (w *world) connect() {
	t := w.t
	port := netlink.NewVeth(netlink.LinkAttrs{Name: "port", MTU: 1500})
	port.PeerName, port.PeerMTU, port.PeerNamespace = "eth0", 1500, netlink.NsFd(w.node.FD())
	must(t, w.rest.nl.LinkAdd(port))
	var at []string
	for n := 1; n <= nodes; n++ {
		at = append(at, addressesOf(n)[0].String()+"/24", addressesOf(n)[1].String()+"/64")
	}
	up(t, w.node, "eth0", at[:2]...)
	up(t, w.rest, "port", append(at[2:], defaults[0]+"/24", defaults[1]+"/64")...)
	var many []string
	for _, a := range outsiders {
		many = append(many, netip.PrefixFrom(a, a.BitLen()).String())
	}
	for n := 2; n <= nodes; n++ {
		for slot := range slotsThere {
			for _, a := range addressesAt(n, slot) {
				many = append(many, netip.PrefixFrom(a, a.BitLen()).String())
			}
		}
	}
	up(t, w.rest, "lo", many...)
	var err error
	w.uplink, err = w.node.nl.LinkByName("eth0")
	must(t, err)
	far, err := w.rest.nl.LinkByName("port")
	must(t, err)
	for i, to := range podCIDRs(1) {
		_, dst, err := net.ParseCIDR(to.String())
		must(t, err)
		must(t, w.rest.nl.RouteAdd(&netlink.Route{LinkIndex: far.Attrs().Index, Dst: dst, Gw: addressesOf(1)[i].AsSlice()}))
		everything := &net.IPNet{IP: make(net.IP, to.Addr().BitLen()/8), Mask: net.CIDRMask(0, to.Addr().BitLen())}
		must(t, w.node.nl.RouteAdd(&netlink.Route{LinkIndex: w.uplink.Attrs().Index, Dst: everything, Gw: net.ParseIP(defaults[i])}))
	}
}

// addEndpoint connects a pod at a place.
func (w *world) addEndpoint(slot int, container string) {
	w.t.Helper()
	ep, err := w.dp.AddEndpoint(context.Background(), datapath.EndpointSpec{
		ContainerID: container, IfName: "eth0", Netns: w.pods[slot].path(), Addresses: addressesAt(1, slot),
	})
	must(w.t, err)
	w.endpoints[slot] = ep
}

func (w *world) removeEndpoint(slot int) {
	w.t.Helper()
	must(w.t, w.dp.RemoveEndpoint(context.Background(), w.endpoints[slot]))
	delete(w.endpoints, slot)
}

// program opens what is attached to a device of the node: a link of tcx, or a filter.
func (w *world) program(device int, egress bool) *ebpf.Program {
	w.t.Helper()
	id, err := w.attached(device, egress)
	must(w.t, err)
	prog, err := ebpf.NewProgramFromID(id)
	must(w.t, err)
	return prog
}

func (w *world) attached(device int, egress bool) (id ebpf.ProgramID, err error) {
	at, parent := ebpf.AttachTCXIngress, uint32(netlink.HANDLE_MIN_INGRESS)
	if egress {
		at, parent = ebpf.AttachTCXEgress, netlink.HANDLE_MIN_EGRESS
	}
	err = w.node.Do(func() error {
		found, err := bpflink.QueryPrograms(bpflink.QueryOptions{Target: device, Attach: at})
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return err
		}
		if found != nil && len(found.Programs) == 1 {
			id = found.Programs[0].ID
		}
		return nil
	})
	if err != nil || id != 0 {
		return id, err
	}
	l, err := w.node.nl.LinkByIndex(device)
	if err != nil {
		return 0, err
	}
	filters, err := w.node.nl.FilterList(l, parent)
	for _, f := range filters {
		if b, ok := f.(*netlink.BpfFilter); ok {
			return ebpf.ProgramID(b.Id), nil
		}
	}
	return 0, fmt.Errorf("device %d (egress: %v) has no program: %w", device, egress, err)
}

func newSpace(t *testing.T) space {
	t.Helper()
	ns := netnstest.New(t)
	nl, err := netlink.NewHandleAt(vnetns.NsHandle(ns.FD()), unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(nl.Close)
	s := space{ns, nl}
	up(t, s, "lo")
	return s
}

// path is one by which the namespace can be opened again.
func (s space) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.FD()) }

func up(t *testing.T, s space, device string, addresses ...string) {
	t.Helper()
	l, err := s.nl.LinkByName(device)
	must(t, err)
	for _, a := range addresses {
		parsed, err := netlink.ParseAddr(a)
		must(t, err)
		if parsed.IP.To4() == nil {
			parsed.Flags = unix.IFA_F_NODAD
		}
		must(t, s.nl.AddrAdd(l, parsed))
	}
	must(t, s.nl.LinkSetUp(l))
}

// newCgroup makes an empty cgroup: what runs on this machine is none of the node's.
func newCgroup(t *testing.T) string {
	t.Helper()
	var mounts []string
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if err := unix.Statfs(root, &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			mounts = append(mounts, root)
		}
	}
	if len(mounts) == 0 {
		t.Fatal("there is no cgroup of version 2, which Services need")
	}
	dir, err := os.MkdirTemp(slices.MaxFunc(mounts, func(a, b string) int { return len(a) - len(b) }), "fairlead-test-*")
	must(t, err)
	t.Cleanup(func() { must(t, os.Remove(dir)) })
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(p))
	return len(p), nil
}
