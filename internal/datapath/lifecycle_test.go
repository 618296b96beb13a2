// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/datapath/link"
)

func TestCleanupLeavesNothing(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	n.cleanup(t) // of what newWorld opened, in a fresh namespace
	for name, want := range map[string]string{"net/ipv6/conf/all/forwarding": "0", "net/ipv6/conf/eth0/accept_ra": "1"} {
		if got := n.sysctl(t, name); got != want {
			t.Errorf("%s is %s after Cleanup, it was %s", name, got, want)
		}
	}
	before := n.snapshot(t)
	n.open()
	if got := n.sysctl(t, "net/ipv6/conf/all/forwarding"); got != "1" {
		t.Errorf("IPv6 forwarding is %s after Open", got)
	}
	if got := n.sysctl(t, "net/ipv6/conf/eth0/accept_ra"); got != "2" {
		t.Errorf("accept_ra of the uplink is %s after Open: it ignores its routers", got)
	}
	must(t, n.dp.SyncPeers(context.Background(), []datapath.Peer{{Name: "peer", PodCIDRs: []netip.Prefix{prefix("10.244.9.0/24")}, Addresses: []netip.Addr{addr("192.168.100.9")}}}))
	n.addPod()
	if during := n.snapshot(t); len(during) <= len(before)+10 {
		t.Errorf("the datapath made next to nothing: %v", during)
	}
	n.cleanup(t)
	if diff := cmp.Diff(before, n.snapshot(t)); diff != "" {
		t.Errorf("Cleanup left or took something (-before +after):\n%s", diff)
	}
	n.cleanup(t) // again, with nothing there
}

// TestCleanupDetachesFromForeignDevices: a device that stays must not keep a program.
func TestCleanupDetachesFromForeignDevices(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	n.cleanup(t)
	before := n.snapshot(t)
	n.open()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "fl_test", Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, 2), asm.Return(), // drops everything
	}})
	must(t, err)
	defer prog.Close()
	uplink, err := n.nl.LinkByName("eth0")
	must(t, err)
	must(t, n.Do(func() error {
		return link.Attach(link.BestWay, filepath.Join(n.bpffs, "fairlead/links/uplink_from"), uplink.Attrs().Index, link.Ingress, prog)
	}))
	if err := ping(n.space, outsideIP("IPv4")); err == nil {
		t.Fatal("an answer came by a program that drops it")
	}
	n.cleanup(t)
	must(t, ping(n.space, outsideIP("IPv4")))
	if diff := cmp.Diff(before, n.snapshot(t)); diff != "" {
		t.Errorf("Cleanup left or took something (-before +after):\n%s", diff)
	}
}

func TestRemovedEndpointLeavesNothing(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	n.addPod()
	before := n.snapshot(t)
	p := n.addPod()
	for range 2 { // the second finds nothing
		must(t, n.dp.RemoveEndpoint(context.Background(), p.ep))
	}
	if diff := cmp.Diff(before, n.snapshot(t)); diff != "" {
		t.Errorf("RemoveEndpoint left or took something (-before +after):\n%s", diff)
	}
	unknown := datapath.Endpoint{EndpointSpec: datapath.EndpointSpec{ContainerID: "never seen", IfName: "eth0"}}
	if err := n.dp.RemoveEndpoint(context.Background(), unknown); err != nil {
		t.Errorf("an endpoint that never was: %v", err)
	}
}

// TestRemoveSparesTheNextOwner removes an endpoint whose address has another owner by now.
func TestRemoveSparesTheNextOwner(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	p := n.addPod()
	stale := p.ep
	stale.ContainerID, stale.HostIfIndex = "a pod of before", p.ep.HostIfIndex+1000
	must(t, n.dp.RemoveEndpoint(context.Background(), stale))
	must(t, n.dp.CheckEndpoint(context.Background(), p.ep))
	must(t, ping(p.space, n.routerIP("IPv4")))
}

func TestRemoveEndpointOfADeadPod(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	before := n.snapshot(t)
	p := n.addPod()
	// The pod's namespace takes its end of the veth along, and with it ours.
	l, err := p.nl.LinkByName("eth0")
	must(t, err)
	must(t, p.nl.LinkDel(l))
	p.ep.Netns = "/proc/self/fd/9999"
	if err := n.dp.CheckEndpoint(context.Background(), p.ep); err == nil {
		t.Error("CheckEndpoint finds a dead pod in order")
	}
	must(t, n.dp.RemoveEndpoint(context.Background(), p.ep))
	if diff := cmp.Diff(before, n.snapshot(t)); diff != "" {
		t.Errorf("RemoveEndpoint left or took something (-before +after):\n%s", diff)
	}
	again := n.addPod()
	must(t, ping(again.space, n.routerIP("IPv4")))
}

func TestFailedAddLeavesNothing(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	other := n.addPod()
	fresh := newSpace(t)
	taken := newSpace(t)
	other0 := netlink.NewVeth(netlink.LinkAttrs{Name: "eth0"})
	other0.PeerName = "other"
	must(t, taken.nl.LinkAdd(other0))
	good := n.podSpec(fresh, 50)
	for _, c := range []struct {
		name   string
		change func(*datapath.EndpointSpec)
		want   string
	}{
		{"no container", func(s *datapath.EndpointSpec) { s.ContainerID = "" }, "containerID is empty"},
		{"absurd interface name", func(s *datapath.EndpointSpec) { s.IfName = "eth0/../../x" }, "ifName"},
		{"long interface name", func(s *datapath.EndpointSpec) { s.IfName = "sixteen-bytes-ab" }, "ifName"},
		{"no such namespace", func(s *datapath.EndpointSpec) { s.Netns = "/run/netns/no-such" }, "/run/netns/no-such"},
		{"not a namespace", func(s *datapath.EndpointSpec) { s.Netns = "/dev/null" }, "is not a network namespace"},
		{"the host's namespace", func(s *datapath.EndpointSpec) { s.Netns = n.path() }, "host's own"},
		{"no address", func(s *datapath.EndpointSpec) { s.Addresses = nil }, "addresses is empty"},
		{"address of another range", func(s *datapath.EndpointSpec) { s.Addresses = []netip.Addr{addr("10.9.9.9")} }, "not in spec.podCIDRs"},
		{"the gateway's address", func(s *datapath.EndpointSpec) { s.Addresses = n.dp.Gateways() }, "gateway"},
		{"two of one family", func(s *datapath.EndpointSpec) { s.Addresses = []netip.Addr{addr("10.244.1.90"), addr("10.244.1.91")} }, "at most one"},
		{"address in use", func(s *datapath.EndpointSpec) { s.Addresses = other.ep.Addresses }, "in use"},
		{"interface there already", func(s *datapath.EndpointSpec) { s.Netns = taken.path() }, "already"},
		{"loopback", func(s *datapath.EndpointSpec) { s.IfName = "lo" }, "already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := n.snapshot(t)
			spec := good
			c.change(&spec)
			_, err := n.dp.AddEndpoint(context.Background(), spec)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
			if diff := cmp.Diff(before, n.snapshot(t)); diff != "" {
				t.Errorf("it left or took something (-before +after):\n%s", diff)
			}
		})
	}
	t.Run("cancelled on the way", func(t *testing.T) {
		before := n.snapshot(t)
		for calls := 1; ; calls++ {
			ctx := &cancelled{Context: context.Background(), after: calls}
			_, err := n.dp.AddEndpoint(ctx, good)
			if err == nil {
				break // it never looked so often
			}
			if diff := cmp.Diff(before, n.snapshot(t)); diff != "" {
				t.Errorf("cancelled at look %d it left or took something (-before +after):\n%s", calls, diff)
			}
		}
	})
	must(t, ping(fresh, n.routerIP("IPv6")))
}

// cancelled is a context that is cancelled when it has been looked at so many times.
type cancelled struct {
	context.Context
	after int
}

func (c *cancelled) Err() error {
	if c.after--; c.after < 0 {
		return context.Canceled
	}
	return nil
}

func TestAddEndpointAgain(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	p := n.addPod()
	again, err := n.dp.AddEndpoint(context.Background(), p.ep.EndpointSpec)
	must(t, err)
	if diff := cmp.Diff(p.ep, again, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("a second ADD gave another endpoint (-first +second):\n%s", diff)
	}
	must(t, ping(p.space, n.routerIP("IPv4")))
}

func TestManyAddsAtOnce(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	before := n.snapshot(t)
	const many = 50
	var specs []datapath.EndpointSpec
	for i := range many {
		specs = append(specs, n.podSpec(newSpace(t), i+1))
	}
	var wg sync.WaitGroup
	errs := make([]error, many)
	for i, spec := range specs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			ep, err := n.dp.AddEndpoint(context.Background(), spec)
			if err == nil {
				err = n.dp.CheckEndpoint(context.Background(), ep)
			}
			if err == nil {
				err = n.dp.RemoveEndpoint(context.Background(), ep)
			}
			errs[i] = err
		}()
	}
	wg.Wait()
	for _, err := range errs {
		must(t, err)
	}
	if diff := cmp.Diff(before, n.snapshot(t)); diff != "" {
		t.Errorf("they left or took something (-before +after):\n%s", diff)
	}
}

func TestCheckEndpoint(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*testing.T, *pod)
		want  string
	}{
		{"in order", func(*testing.T, *pod) {}, ""},
		{"pod's address removed", func(t *testing.T, p *pod) {
			l, err := p.nl.LinkByName("eth0")
			must(t, err)
			must(t, p.nl.AddrDel(l, &netlink.Addr{IPNet: &net.IPNet{IP: p.ip("IPv4").AsSlice(), Mask: net.CIDRMask(32, 32)}}))
		}, "has no address"},
		{"pod's interface down", func(t *testing.T, p *pod) {
			l, err := p.nl.LinkByName("eth0")
			must(t, err)
			must(t, p.nl.LinkSetDown(l))
		}, "is down"},
		{"pod's MTU changed", func(t *testing.T, p *pod) {
			l, err := p.nl.LinkByName("eth0")
			must(t, err)
			must(t, p.nl.LinkSetMTU(l, 1300))
		}, "MTU 1300"},
		{"pod's default route removed", func(t *testing.T, p *pod) {
			must(t, p.nl.RouteDel(&netlink.Route{Gw: p.ep.Gateways[0].AsSlice()}))
		}, "no default route"},
		{"host's route removed", func(t *testing.T, p *pod) {
			must(t, p.node.nl.RouteDel(&netlink.Route{LinkIndex: p.ep.HostIfIndex, Scope: netlink.SCOPE_LINK, Dst: &net.IPNet{IP: p.ip("IPv4").AsSlice(), Mask: net.CIDRMask(32, 32)}}))
		}, "host's route"},
		{"host's device down", func(t *testing.T, p *pod) {
			l, err := p.node.nl.LinkByName(p.ep.HostIf)
			must(t, err)
			must(t, p.node.nl.LinkSetDown(l))
		}, "is down"},
		{"program detached", func(t *testing.T, p *pod) {
			must(t, os.Remove(filepath.Join(p.node.bpffs, "fairlead/links", p.ep.HostIf+"_from")))
		}, "attachment"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newWorld(t, 1, false).nodes[0].addPod()
			c.spoil(t, p)
			err := p.node.dp.CheckEndpoint(context.Background(), p.ep)
			if c.want == "" {
				must(t, err)
			} else if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestReconfigure(t *testing.T) {
	w := newWorld(t, 2, false)
	n, two := w.nodes[0], w.nodes[1]
	p := n.addPod()
	changed := n.spec
	changed.PodCIDRs = []netip.Prefix{prefix("10.244.77.0/24")}
	before := n.snapshot(t)
	err := n.dp.Reconfigure(context.Background(), changed)
	if err == nil || !strings.Contains(err.Error(), p.ip("IPv4").String()) || !strings.Contains(err.Error(), n.name) {
		t.Errorf("got error %v, want one that names the node and the pod's address", err)
	}
	if diff := cmp.Diff(before, n.snapshot(t)); diff != "" {
		t.Errorf("a refused Reconfigure changed something (-before +after):\n%s", diff)
	}
	must(t, n.dp.RemoveEndpoint(context.Background(), p.ep))
	must(t, n.dp.Reconfigure(context.Background(), changed))
	n.spec = changed
	must(t, two.dp.SyncPeers(context.Background(), []datapath.Peer{{Name: n.name, PodCIDRs: changed.PodCIDRs, Addresses: n.spec.Addresses}}))
	moved, far := n.addPod(), two.addPod()
	must(t, ping(moved.space, far.ip("IPv4")))
	must(t, ping(far.space, moved.ip("IPv4")))
	must(t, ping(n.space, far.ip("IPv4")))
	for _, line := range n.snapshot(t) {
		if strings.Contains(line, "10.244.1.") {
			t.Errorf("of the former range is left: %s", line)
		}
	}
}
