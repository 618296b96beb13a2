// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	bpflink "github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// stranger is a program of somebody else's that counts packets and lets them go on.
type stranger struct {
	name  string
	count *ebpf.Map
	prog  *ebpf.Program
}

func newStranger(t *testing.T, name string) stranger {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "strange", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	must(t, err)
	t.Cleanup(func() { m.Close() })
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "strange", Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMapValue(asm.R1, m.FD(), 0), asm.Mov.Imm(asm.R2, 1), asm.StoreXAdd(asm.R1, asm.R2, asm.DWord),
		asm.Mov.Imm(asm.R0, -1), asm.Return(), // TCX_NEXT, which is TC_ACT_UNSPEC of a filter
	}})
	must(t, err)
	t.Cleanup(func() { p.Close() })
	return stranger{name, m, p}
}

func (s stranger) seen(t *testing.T) (n uint64) {
	t.Helper()
	must(t, s.count.Lookup(uint32(0), &n))
	return n
}

// tcxStranger attaches one before (head) or after all others, in both directions.
func (n *node) tcxStranger(t *testing.T, device string, head bool) []stranger {
	t.Helper()
	l, err := n.nl.LinkByName(device)
	must(t, err)
	var all []stranger
	for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
		s := newStranger(t, fmt.Sprintf("%s %s, before ours %t", device, at, head))
		var anchor bpflink.Anchor = bpflink.Tail()
		if head {
			anchor = bpflink.Head()
		}
		must(t, n.Do(func() error {
			attached, err := bpflink.AttachTCX(bpflink.TCXOptions{Interface: l.Attrs().Index, Program: s.prog, Attach: at, Anchor: anchor})
			if err == nil {
				t.Cleanup(func() { attached.Close() })
			}
			return err
		}))
		all = append(all, s)
	}
	return all
}

// clsactStranger attaches filters in both directions.
func (n *node) clsactStranger(t *testing.T, device string, priority uint16) []stranger {
	t.Helper()
	l, err := n.nl.LinkByName(device)
	must(t, err)
	must(t, n.nl.QdiscReplace(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT},
		QdiscType:  "clsact",
	}))
	var all []stranger
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		s := newStranger(t, fmt.Sprintf("%s filter of priority %d at %x", device, priority, parent))
		must(t, n.nl.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: l.Attrs().Index, Parent: parent, Priority: priority, Protocol: unix.ETH_P_ALL},
			Fd:          s.prog.FD(), Name: "stranger", DirectAction: true,
		}))
		all = append(all, s)
	}
	return all
}

// TestProgramsOfOthers: other programs and filters on our devices see what goes through
// the host's stack, wherever they stand, and stay through all that we do.
func TestProgramsOfOthers(t *testing.T) {
	for _, routing := range []datapath.Routing{datapath.RoutingTunnel, datapath.RoutingNative} {
		t.Run(string(routing), func(t *testing.T) {
			w := newShapedWorld(t, 2, shape{routing: routing})
			one, two := w.nodes[0], w.nodes[1]
			a, b, far := one.addPod(), one.addPod(), two.addPod()
			var all []stranger
			for _, device := range []string{a.ep.HostIf, "eth0"} {
				all = append(all, one.clsactStranger(t, device, 2)...)
				all = append(all, one.clsactStranger(t, device, 50)...)
				all = append(all, one.tcxStranger(t, device, true)...)
				all = append(all, one.tcxStranger(t, device, false)...)
			}
			check := func(when string) {
				t.Helper()
				before := map[string]uint64{}
				for _, s := range all {
					before[s.name] = s.seen(t)
				}
				t.Run(when, func(t *testing.T) { checkAllPaths(t, one, two, a, b, far) })
				for _, s := range all {
					if s.seen(t) == before[s.name] {
						t.Errorf("%s: %s saw nothing", when, s.name)
					}
				}
			}
			check("attached after ours")
			one.restart(t, one.opts, []datapath.Endpoint{a.ep, b.ep})
			check("an agent restarted")
			must(t, one.dp.RemoveEndpoint(context.Background(), b.ep))
			b = one.addPod()
			check("another pod removed")

			one.cleanup(t) // the pod's device goes with it
			uplink := all[len(all)/2:]
			before := map[string]uint64{}
			for _, s := range uplink {
				before[s.name] = s.seen(t)
			}
			must(t, ping(one.space, outsideIP("IPv4")))
			for _, s := range uplink {
				if s.seen(t) == before[s.name] {
					t.Errorf("cleaning up removed %s", s.name)
				}
			}
		})
	}
}

// TestADatapathAmongOthers: the uplink had programs and filters of others before.
func TestADatapathAmongOthers(t *testing.T) {
	w := newWorld(t, 2, false)
	one, two := w.nodes[0], w.nodes[1]
	one.cleanup(t)
	all := append(one.clsactStranger(t, "eth0", 2), one.tcxStranger(t, "eth0", true)...)
	must(t, one.dp.Close())
	one.open()
	one.syncPeers(t)
	a, b, far := one.addPod(), one.addPod(), two.addPod()
	checkAllPaths(t, one, two, a, b, far)
	for _, s := range all {
		if s.seen(t) == 0 {
			t.Errorf("%s saw nothing", s.name)
		}
	}
}
