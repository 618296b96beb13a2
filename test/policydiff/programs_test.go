// SPDX-License-Identifier: Apache-2.0

package policydiff

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// What programs say of a packet, and the mark of one that is yet to be judged where it leaves
// the host's stack (bpf/include/layout.h).
const (
	actOK        = 0xffffffff
	actShot      = 2
	actRedirect  = 7
	markDeferred = 0x00100000
)

// hook is where a packet is met.
type hook string

const (
	fromPod    hook = "from_pod"
	fromUplink hook = "from_uplink"
	toPod      hook = "to_pod, from the host"
	routed     hook = "to_pod, from the uplink through the stack"
	deferred   hook = "to_pod, put off by from_pod"
	leaving    hook = "to_uplink, put off by from_pod"
)

// flow is a connection as its first packet meets the node under test.
type flow struct {
	tuple
	hook hook
	slot int // of the pod whose device it is about: the source's at from_pod, else the destination's
	by   int // place of the pod that sent what was put off
}

func (f flow) String() string {
	return fmt.Sprintf("%s: %s port %d -> %s port %d, protocol %d", f.hook, f.Source, f.from, f.Dest, f.Port, f.Protocol)
}

// putOff says whether from_pod leaves the flow to others when it is not allowed as it stands: for
// all that it knows, the host's stack translates it. What seems to answer it without having been in
// the stack is as little allowed.
func (f flow) putOff() bool { return f.hook == fromPod && !isPods(f.Dest) }

// runner runs packets through the programs that are attached.
type runner struct {
	*pipeline
	programs map[string]*ebpf.Program
	ids      map[netip.Addr]map[netip.Addr]uint16 // of echoes, by the lower address
	fresh    uint16
}

func newRunner(l *pipeline) *runner {
	return &runner{pipeline: l, programs: map[string]*ebpf.Program{}, ids: map[netip.Addr]map[netip.Addr]uint16{}}
}

// close lets go of the programs; those of pods come anew with them.
func (r *runner) close() {
	for _, p := range r.programs {
		p.Close()
	}
	clear(r.programs)
}

func (r *runner) at(device int, egress bool) *ebpf.Program {
	key := fmt.Sprint(device, egress)
	if r.programs[key] == nil {
		r.programs[key] = r.program(device, egress)
	}
	return r.programs[key]
}

// flow makes a connection that is new to the node.
func (r *runner) flow() flow {
	family := r.IntN(2)
	live := r.live()
	slot := pick(r.dice, live...)
	hooks := []hook{fromPod, fromPod, fromPod, fromUplink, fromUplink, toPod, routed}
	if !r.services { // else the datapath translates them itself, and nothing is put off
		hooks = append(hooks, deferred, leaving)
	}
	f := flow{slot: slot, hook: pick(r.dice, hooks...)}
	f.Protocol = pick[uint8](r.dice, unix.IPPROTO_TCP, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_ICMP)
	f.Source, f.Dest = r.peer(family), addressesAt(1, slot)[family]
	switch f.hook {
	case fromPod:
		f.Source, f.Dest = f.Dest, r.dest(family)
	case toPod:
		f.Source = pick(r.dice, addressesOf(1)[family], gateways[family])
	case deferred:
		f.by = pick(r.dice, live...)
		f.Source = addressesAt(1, f.by)[family]
	case leaving:
		f.by = slot
		f.Source, f.Dest = f.Dest, r.peer(family)
	}
	r.number(&f)
	return f
}

// number gives a flow ports that are new between its ends.
func (r *runner) number(f *flow) {
	const firstFresh = 20000 // above all that connections go to
	if f.Protocol != unix.IPPROTO_ICMP {
		f.Port = pick(r.dice, usedPorts...)
		r.fresh = (r.fresh + 1) % (65535 - firstFresh)
		f.from = firstFresh + r.fresh
		return
	}
	if f.Source.Is6() {
		f.Protocol = unix.IPPROTO_ICMPV6
	}
	a, b := f.Source, f.Dest
	if b.Less(a) {
		a, b = b, a
	}
	if r.ids[a] == nil {
		r.ids[a] = map[netip.Addr]uint16{}
	}
	r.ids[a][b]++
	f.from = r.ids[a][b]
}

// peer is somebody who is not on this node.
func (r *runner) peer(family int) netip.Addr {
	switch c := r.IntN(100); {
	case c < 75:
		return addressesAt(2+r.IntN(nodes-1), r.IntN(slotsThere))[family]
	case c < 85:
		return addressesOf(2 + r.IntN(nodes-1))[family]
	}
	return outsiders[2*family+r.IntN(2)]
}

// dest is anybody.
func (r *runner) dest(family int) netip.Addr {
	switch c := r.IntN(100); {
	case c < 40:
		return addressesAt(1, r.IntN(slotsHere))[family]
	case c < 45:
		return addressesOf(1)[family]
	case c < 48:
		return gateways[family]
	}
	return r.peer(family)
}

// want is what the model says of a flow's first packet.
func (r *runner) want(f flow) bool {
	switch f.hook {
	case toPod:
		return true // its own node's host may always
	case leaving:
		return r.Judge(r.here[f.by], Egress, f.Connection).Allow
	}
	return r.May(own, f.Connection)
}

// passes says whether programs let a packet through: the first, or the answer to it.
func (r *runner) passes(f flow, answer bool) (bool, error) {
	const markField, sourceField, deviceField = 2, 9, 10 // of struct __sk_buff, in words
	uplink := r.uplink.Attrs()
	here := r.endpoints[f.slot]
	var in, out [48]uint32
	device, egress := here.HostIfIndex, true
	src, dst := net.HardwareAddr(here.HostMAC), net.HardwareAddr(here.PodMAC)
	sent := f.tuple
	switch h := f.hook; {
	case h == fromPod && !answer, answer && (h == fromUplink || h == routed):
		egress, src, dst = false, dst, src
	case h == fromUplink, h == fromPod && answer:
		if to, ok := r.slotOf(f.Dest); answer && ok { // another pod of this node answers
			other := r.endpoints[to]
			device, egress, src, dst = other.HostIfIndex, false, net.HardwareAddr(other.PodMAC), net.HardwareAddr(other.HostMAC)
			break
		}
		device, egress, dst = uplink.Index, false, uplink.HardwareAddr
	case h == routed:
		in[sourceField] = uint32(uplink.Index)
	case h == deferred:
		in[markField], in[sourceField] = markDeferred, uint32(r.endpoints[f.by].HostIfIndex)
	case h == leaving:
		in[markField], in[sourceField] = markDeferred, uint32(here.HostIfIndex)
		device, src, dst = uplink.Index, uplink.HardwareAddr, uplink.HardwareAddr
		sent.Source = addressesOf(1)[family(f.Source)] // the stack has masqueraded it
	}
	in[deviceField] = uint32(device)
	data, err := crafted(sent, answer, src, dst)
	if err != nil {
		return false, err
	}
	opts := &ebpf.RunOptions{Data: data, DataOut: make([]byte, len(data)+64), Context: in, ContextOut: &out}
	action, err := r.at(device, egress).Run(opts)
	switch {
	case err != nil:
		return false, err
	case action == actShot:
		return false, nil
	case action == actRedirect:
		return true, nil
	case action == actOK:
		return f.hook == deferred || f.hook == leaving || out[markField]&markDeferred == 0, nil
	}
	return false, fmt.Errorf("action %d", action)
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// slotOf is the place of the node's pod with an address.
func (r *runner) slotOf(a netip.Addr) (int, bool) {
	for slot := range r.here {
		if slices.Contains(addressesAt(1, slot), a) {
			return slot, true
		}
	}
	return 0, false
}

// answerable says whether an answer to a flow's first packet comes by a hook of these tests,
// rather than through the host's stack.
func (r *runner) answerable(f flow) bool {
	_, here := r.slotOf(f.Dest)
	far := func(a netip.Addr) bool { return a != addressesOf(1)[family(a)] && a != gateways[family(a)] }
	switch f.hook {
	case fromPod:
		return f.Source != f.Dest && far(f.Dest) && (here || !slices.ContainsFunc(podCIDRs(1), func(p netip.Prefix) bool { return p.Contains(f.Dest) }))
	case fromUplink, routed:
		return true
	}
	return false
}
