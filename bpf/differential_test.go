// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/bpf/model"
)

// How many packets are tried, and from which seed; `make packets` tries a million.
const (
	packetCases       = "FAIRLEAD_PACKET_CASES"
	packetSeed        = "FAIRLEAD_PACKET_SEED"
	defaultCases      = 20000
	packetsInOneWorld = 500
	// So many rows that no connection has to be given another's.
	differentialEntries = 1 << 14
)

func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s is %q, want a number", name, s)
	}
	return n
}

// TestProgramsAndModelAgree sends random packets, good and bad, through the programs of
// random nodes, and expects what the model says: action, bytes, counters and rows.
func TestProgramsAndModelAgree(t *testing.T) {
	cases, seed := setting(t, packetCases, defaultCases), setting(t, packetSeed, rand.Uint64())
	t.Logf("%d packets, %s=%d", cases, packetSeed, seed)
	inNamespace(t)
	uplink := makeUplink(t)
	seen := map[string]int{}
	tried := uint64(0)
	for world := uint64(0); tried < cases; world++ {
		r := rand.New(rand.NewPCG(seed, world))
		d := newDifferential(t, r, uplink)
		for range min(packetsInOneWorld, cases-tried) {
			d.step(seen)
			tried++
			if t.Failed() {
				t.Fatalf("packet %d, in world %d of %s=%d", tried, world, packetSeed, seed)
			}
		}
		d.k.close()
	}
	t.Logf("%d packets, no difference; outcomes: %v", tried, seen)
	if cases < defaultCases {
		return
	}
	want := []string{outOfTunnel}
	for _, hook := range bpf.Programs() {
		want = append(want, hook.Name)
	}
	for r := range bpf.ReasonSlots {
		if name := bpf.ReasonName(r); name != "" && r != bpf.ReasonDropKernel {
			want = append(want, name)
		}
	}
	for _, name := range want {
		if seen[name] == 0 {
			t.Errorf("no packet of %d had the outcome %s: the test does not reach it", cases, name)
		}
	}
}

// outOfTunnel is the outcome of packets that from_uplink takes out of the tunnel itself.
const outOfTunnel = "taken out of the tunnel"

// inNamespace gives the test a network namespace of its own.
func inNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test, and the namespace with it
	must(t, unix.Unshare(unix.CLONE_NEWNET))
}

// uplinkOf is the device to other nodes, and the two neighbours that are known there.
type uplinkOf struct {
	index int
	mac   [6]byte
}

var (
	self6               = netip.MustParseAddr("fd64::1")
	known4, known6      = node4, netip.MustParseAddr("fd64::2")
	silent4, silent6    = netip.MustParseAddr("172.16.0.3"), netip.MustParseAddr("fd64::3")
	away4, away6        = netip.MustParseAddr("172.17.0.4"), netip.MustParseAddr("fd65::4")
	stranger4           = netip.MustParseAddr("172.16.0.99")
	stranger6           = netip.MustParseAddr("fd64::99")
	knownMAC            = [6]byte{2, 0, 0, 0, 0xaa, 2}
	farRanges4          = []netip.Prefix{netip.MustParsePrefix("10.2.0.0/24"), netip.MustParsePrefix("10.3.0.0/24"), netip.MustParsePrefix("10.4.0.0/24")}
	farRanges6          = []netip.Prefix{netip.MustParsePrefix("fd00:2::/64"), netip.MustParsePrefix("fd00:3::/64"), netip.MustParsePrefix("fd00:4::/64")}
	ownRange4           = netip.MustParsePrefix("10.1.0.0/24")
	ownRange6           = netip.MustParsePrefix("fd00:1::/64")
	moreOutside         = []netip.Addr{outside4, outside6, netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("ff02::fb"), netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("fe80::1")}
	farPods             = []netip.Addr{netip.MustParseAddr("10.2.0.10"), netip.MustParseAddr("10.3.0.10"), netip.MustParseAddr("10.4.0.10"), netip.MustParseAddr("fd00:2::a"), netip.MustParseAddr("fd00:3::a"), netip.MustParseAddr("fd00:4::a")}
	ownPods             = []netip.Addr{pod4, other4, pod6, other6}
	unusedOwn           = []netip.Addr{netip.MustParseAddr("10.1.0.99"), netip.MustParseAddr("fd00:1::63")}
	gateways            = []netip.Addr{gateway4, gateway6}
	routerAddress       = [6]byte(routerMAC)
	otherEndpointDevice = uint32(otherIfindex)
)

// makeUplink makes a device with neighbours: one whose MAC address is known, one whose is
// not; and routes to ranges by both.
func makeUplink(t *testing.T) uplinkOf {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	for name, value := range map[string]string{"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"} {
		must(t, os.WriteFile("/proc/sys/"+name, []byte(value), 0o644))
	}
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up0"}, PeerName: "up1"}))
	l, err := netlink.LinkByName("up0")
	must(t, err)
	peer, err := netlink.LinkByName("up1")
	must(t, err)
	for _, a := range []netip.Prefix{netip.PrefixFrom(self4, 24), netip.PrefixFrom(self6, 64)} {
		ip := &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}
		must(t, netlink.AddrAdd(l, &netlink.Addr{IPNet: ip, Flags: unix.IFA_F_NODAD}))
	}
	must(t, errors.Join(netlink.LinkSetUp(l), netlink.LinkSetUp(peer)))
	for _, a := range []netip.Addr{known4, known6} {
		must(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: knownMAC[:]}))
	}
	for i, via := range []netip.Addr{known4, silent4, known6, silent6} {
		dst := append(farRanges4[:2:2], farRanges6[:2]...)[i]
		must(t, netlink.RouteAdd(&netlink.Route{
			LinkIndex: l.Attrs().Index, Gw: via.AsSlice(),
			Dst: &net.IPNet{IP: dst.Addr().AsSlice(), Mask: net.CIDRMask(dst.Bits(), dst.Addr().BitLen())},
		}))
	}
	return uplinkOf{l.Attrs().Index, [6]byte(l.Attrs().HardwareAddr)}
}

// differential is a node's programs in the kernel, and the model of the node.
type differential struct {
	t      testing.TB
	r      *rand.Rand
	k      *kernel
	world  *model.World
	over6  bool
	uplink uplinkOf
	keyed  map[model.Meeting]*ebpf.Program // programs behind a tunnel key
	// arrived are packets that the tunnel device handed to pods, sent those of pods that
	// went past the stack.
	arrived []arrival
	sent    [][]byte
}

type arrival struct {
	packet []byte
	sender netip.Addr
}

func newDifferential(t testing.TB, r *rand.Rand, uplink uplinkOf) *differential {
	t.Helper()
	d := &differential{t: t, r: r, over6: r.IntN(2) == 0, uplink: uplink, keyed: map[model.Meeting]*ebpf.Program{}}
	w := &model.World{
		Gateways: gateways, Pods: []netip.Prefix{ownRange4, ownRange6}, Router: routerAddress,
		VNI: testVNI, TunnelAddress: self4, TunnelPort: 8472, Epoch: 1,
		Endpoints:  map[netip.Addr]model.Endpoint{},
		Ranges:     map[netip.Prefix]model.Range{ownRange4: {Local: true}, ownRange6: {Local: true}},
		Peers:      map[netip.Addr]bool{},
		TunnelHops: map[netip.Addr]model.Hop{}, NativeHops: map[netip.Prefix]model.Hop{},
		Noted: map[bpf.Flow]bool{}, Rows: map[bpf.Flow]*bpf.Connection{},
	}
	d.world = w
	ends := []netip.Addr{known4, silent4, away4}
	if d.over6 {
		w.TunnelAddress, ends = self6, []netip.Addr{known6, silent6, away6}
	}
	if r.IntN(4) > 0 {
		w.Uplink = uint32(uplink.index)
	}
	index := uint32(uplink.index)
	w.TunnelHops[ends[0]] = model.Hop{Ifindex: index, To: knownMAC, From: uplink.mac, Resolved: true}
	w.TunnelHops[ends[1]] = model.Hop{Ifindex: index}
	for i := range farRanges4 {
		w.Peers[ends[i]] = true
		for _, p := range []netip.Prefix{farRanges4[i], farRanges6[i]} {
			w.Ranges[p] = model.Range{Tunnel: ends[i], Native: r.IntN(3) == 0, MTU: []int{100, 600, 1450}[r.IntN(3)]}
			if i == 0 {
				w.NativeHops[p] = model.Hop{Ifindex: index, To: knownMAC, From: uplink.mac, Resolved: true}
			} else if i == 1 {
				w.NativeHops[p] = model.Hop{Ifindex: index}
			}
		}
	}
	for _, a := range ownPods {
		w.Endpoints[a] = model.Endpoint{Ifindex: podIfindex, MAC: [6]byte(podMAC)}
		if a == other4 || a == other6 {
			w.Endpoints[a] = model.Endpoint{Ifindex: otherEndpointDevice, MAC: [6]byte(otherMAC)}
		}
	}
	d.load()
	return d
}

// load loads the programs with the world's settings, and writes its rows.
func (d *differential) load() {
	w := d.world
	ipv6 := uint8(0)
	if d.over6 {
		ipv6 = 1
	}
	d.k = loadKernel(d.t, differentialEntries, map[string]any{
		"cfg_uplink_ifindex": w.Uplink, "cfg_tunnel_address": bpf.AddressOf(w.TunnelAddress).Word, "cfg_tunnel_ipv6": ipv6,
	})
	for a, ep := range w.Endpoints {
		d.k.put("fl_endpoints", bpf.AddressOf(a), bpf.Endpoint{Ifindex: ep.Ifindex, Mac: ep.MAC})
	}
	for p, r := range w.Ranges {
		d.putRange(p, r)
	}
	for a := range w.Peers {
		d.k.put("fl_peers", bpf.AddressOf(a), bpf.Peer{Known: 1})
	}
	d.k.put("fl_state", uint32(0), bpf.State{Seed: model.Seed, Epoch: w.Epoch})
}

func (d *differential) putRange(p netip.Prefix, r model.Range) {
	row := bpf.Range{Mtu: uint16(r.MTU)}
	if r.Local {
		row.Flags = bpf.RangeLocal
	} else {
		row.Tunnel = bpf.AddressOf(r.Tunnel)
	}
	if r.Native {
		row.Flags |= bpf.RangeNative
	}
	d.k.put("fl_ranges", bpf.RangeKeyOf(p), row)
}

// step changes the world now and then, and tries one packet.
func (d *differential) step(seen map[string]int) {
	if d.r.IntN(50) == 0 {
		d.change()
	}
	m, packet := d.meeting()
	d.try(m, packet, seen)
}

// change does what an agent does: other rows, then another epoch.
func (d *differential) change() {
	w := d.world
	i := d.r.IntN(len(farRanges4))
	for _, p := range []netip.Prefix{farRanges4[i], farRanges6[i]} {
		r := w.Ranges[p]
		r.Native, r.MTU = d.r.IntN(2) == 0, 80+d.r.IntN(1400)
		w.Ranges[p] = r
		d.putRange(p, r)
	}
	w.Epoch++
	d.k.put("fl_state", uint32(0), bpf.State{Seed: model.Seed, Epoch: w.Epoch})
}

// counts are the counters that a packet may move.
type counts struct {
	metrics [][]bpf.Counter
	events  map[bpf.FlowEvent]uint64
}

func (d *differential) counts() counts {
	d.t.Helper()
	slots := int(bpf.HookCount) * int(bpf.ReasonSlots)
	c := counts{metrics: make([][]bpf.Counter, slots), events: map[bpf.FlowEvent]uint64{}}
	cpus := ebpf.MustPossibleCPU()
	keys, values := make([]uint32, slots), make([]bpf.Counter, slots*cpus)
	var cursor ebpf.MapBatchCursor
	if _, err := d.k.maps["fl_metrics"].BatchLookup(&cursor, keys, values, nil); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		d.t.Fatal(err)
	}
	for i, key := range keys {
		c.metrics[key] = values[i*cpus : (i+1)*cpus]
	}
	for e := range bpf.FlowEventCount {
		var all []uint64
		must(d.t, d.k.maps["fl_flow_events"].Lookup(uint32(e), &all))
		for _, n := range all {
			c.events[e] += n
		}
	}
	return c
}

func (d *differential) try(m model.Meeting, packet []byte, seen map[string]int) {
	d.t.Helper()
	before := d.counts()
	action, out, err := d.run(m, packet)
	if errors.Is(err, unix.EINVAL) {
		seen["refused by the kernel"]++
		return
	}
	must(d.t, err)
	want := d.world.Decide(m, packet)
	if m.Hook == bpf.HookFromOverlay && want.Action == model.Redirect {
		d.arrived = append(d.arrived, arrival{slices.Clone(packet), m.Sender})
	}
	if m.Hook == bpf.HookFromPod && want.Action == model.Redirect {
		d.sent = append(d.sent, slices.Clone(packet))
	}
	after := d.counts()
	if problem := d.compare(m, want, action, out, before, after); problem != nil {
		d.t.Errorf("%s of %d bytes: %v\nmeeting: %+v\npacket:\n%sprogram:\n%smodel:\n%s",
			bpf.HookName(m.Hook), len(packet), problem, m, hex.Dump(packet), hex.Dump(out), hex.Dump(want.Packet))
	}
	seen[bpf.HookName(m.Hook)]++
	if want.Counted {
		seen[bpf.ReasonName(want.Reason)]++
	}
	if m.Hook == bpf.HookFromUplink && len(want.Packet) < len(packet) {
		seen[outOfTunnel]++
	}
}

func (d *differential) compare(m model.Meeting, want model.Outcome, action uint32, out []byte, before, after counts) error {
	if action != want.Action {
		return fmt.Errorf("action %d, want %d (%s)", action, want.Action, bpf.ReasonName(want.Reason))
	}
	skip := 0
	if want.AnyMACs {
		skip = 12
	}
	if len(out) != len(want.Packet) || !bytes.Equal(out[skip:], want.Packet[skip:]) {
		return errors.New("the packets differ")
	}
	return errors.Join(compareCounts(m, want, before, after), d.compareRows())
}

func compareCounts(m model.Meeting, want model.Outcome, before, after counts) error {
	for slot := range after.metrics {
		var packets, volume uint64
		for cpu := range after.metrics[slot] {
			packets += after.metrics[slot][cpu].Packets - before.metrics[slot][cpu].Packets
			volume += after.metrics[slot][cpu].Bytes - before.metrics[slot][cpu].Bytes
		}
		var wantPackets, wantVolume uint64
		if want.Counted && slot == int(m.Hook)*int(bpf.ReasonSlots)+int(want.Reason) {
			wantPackets, wantVolume = 1, uint64(len(want.Packet))
		}
		if packets != wantPackets || volume != wantVolume {
			return fmt.Errorf("%s/%s counted %d packets and %d bytes, want %d and %d", bpf.HookName(bpf.Hook(slot/int(bpf.ReasonSlots))),
				bpf.ReasonName(bpf.Reason(slot%int(bpf.ReasonSlots))), packets, volume, wantPackets, wantVolume)
		}
	}
	for e := range bpf.FlowEventCount {
		n := after.events[e] - before.events[e]
		wantN := uint64(0)
		if e == bpf.FlowCreated && want.Created || e == bpf.FlowDecidedAnew && want.DecidedAnew {
			wantN = 1
		}
		if n != wantN && !(want.PerhapsAnew && e == bpf.FlowDecidedAnew && n == 1) {
			return fmt.Errorf("flow event %s: %d, want %d", bpf.FlowEventName(e), n, wantN)
		}
	}
	return nil
}

// compareRows holds the maps against what the model remembers. Each row is looked for
// where its hash says.
func (d *differential) compareRows() error {
	if noted := len(d.k.notes()); noted != len(d.world.Noted) {
		return fmt.Errorf("%d flows are noted, want %d", noted, len(d.world.Noted))
	}
	for f := range d.world.Noted {
		var n bpf.FlowNote
		if err := d.k.maps["fl_via_stack"].Lookup(f, &n); err != nil {
			return fmt.Errorf("flow %+v is not noted: %w", f, err)
		}
	}
	for f, want := range d.world.Rows {
		got, ok := d.k.row(f)
		if !ok {
			return fmt.Errorf("flow %+v has no row", f)
		}
		if got.Epoch != want.Epoch || got.Flags != want.Flags || got.Sequence%2 != 0 {
			return fmt.Errorf("flow %+v: epoch %d, flags %#x, sequence %d, want epoch %d, flags %#x, even", f, got.Epoch, got.Flags, got.Sequence, want.Epoch, want.Flags)
		}
		for i := range got.Path {
			path := got.Path[i]
			path.Checked = 0
			if path.Kind == bpf.PathNone && want.Path[i].Kind == bpf.PathNone {
				continue
			}
			if path != want.Path[i] {
				return fmt.Errorf("flow %+v: path %d is %+v, want %+v", f, i, path, want.Path[i])
			}
			if tunnelled := path.Kind == bpf.PathTunnel || path.Flags&bpf.PathFromTunnel != 0; tunnelled && got.Remote != want.Remote {
				return fmt.Errorf("flow %+v: remote %s, want %s", f, bpf.Netip(got.Remote), bpf.Netip(want.Remote))
			}
		}
	}
	return nil
}

// row returns the row of a connection.
func (k *kernel) row(f bpf.Flow) (bpf.Connection, bool) {
	k.t.Helper()
	for way := range uint32(bpf.FlowWays) {
		var c bpf.Connection
		must(k.t, k.maps["fl_connections"].Lookup((model.Hash(f, model.Seed)+way)&(k.entries-1), &c))
		if c.Flow == f {
			return c, true
		}
	}
	return bpf.Connection{}, false
}

// run meets a packet in the kernel.
func (d *differential) run(m model.Meeting, packet []byte) (uint32, []byte, error) {
	prog := d.k.programs[m.Hook]
	if m.Key {
		key := model.Meeting{Hook: m.Hook, VNI: m.VNI, Sender: m.Sender}
		if d.keyed[key] == nil {
			d.keyed[key] = d.k.withTunnelKey(prog, m.VNI, m.Sender)
		}
		prog = d.keyed[key]
	}
	context := [48]uint32{9: m.Ingress, 10: m.Ifindex}
	opts := &ebpf.RunOptions{Data: packet, DataOut: make([]byte, len(packet)+256), Context: context}
	action, err := prog.Run(opts)
	return action, opts.DataOut, err
}

// meeting makes a packet and where it is met.
func (d *differential) meeting() (model.Meeting, []byte) {
	m := model.Meeting{Hook: bpf.Hook(d.r.IntN(int(bpf.HookCount))), Ifindex: podIfindex}
	packet := d.packet(m.Hook)
	switch m.Hook {
	case bpf.HookFromPod:
		if len(d.sent) > 0 && d.r.IntN(3) == 0 { // once more, so that its way is known
			packet = slices.Clone(pickOf(d, d.sent))
		}
		if d.r.IntN(6) == 0 {
			m.Ifindex = uint32(d.uplink.index) // of no pod
		}
	case bpf.HookFromOverlay:
		m.Key, m.VNI, m.Sender = true, testVNI, d.sender()
		if d.r.IntN(20) == 0 {
			m.VNI++
		} else if d.r.IntN(20) == 0 {
			m.Key = false
		}
	case bpf.HookToOverlay:
		if d.r.IntN(4) == 0 {
			m.Key, m.VNI, m.Sender = true, testVNI, d.sender()
		}
	case bpf.HookToUplink:
		m.Ingress = uint32(d.r.IntN(2))
	case bpf.HookFromUplink:
		m.Ifindex = uint32(d.uplink.index)
		// What the tunnel device has met before, from the same sender or another.
		if len(d.arrived) > 0 && d.r.IntN(2) == 0 {
			packet = d.tunnelledFrom(pickOf(d, d.arrived))
		} else if d.r.IntN(3) > 0 {
			packet = d.tunnelled(packet)
		}
	}
	d.spoil(packet)
	if cut := d.r.IntN(12); cut == 0 {
		packet = packet[:34+d.r.IntN(max(1, len(packet)-34))]
	}
	if m.Hook == bpf.HookFromUplink {
		mac := d.uplink.mac
		m.Mine = d.r.IntN(10) > 0
		if !m.Mine {
			mac[5] ^= 2
		}
		copy(packet, mac[:])
	}
	return m, packet
}

func (d *differential) sender() netip.Addr {
	ends := []netip.Addr{known4, silent4, away4, stranger4, known4, known4}
	if d.over6 {
		ends = []netip.Addr{known6, silent6, away6, stranger6, known6, known6}
	}
	return ends[d.r.IntN(len(ends))]
}

// spoil changes some bytes now and then.
func (d *differential) spoil(packet []byte) {
	if d.r.IntN(6) > 0 {
		return
	}
	for range 1 + d.r.IntN(3) {
		packet[12+d.r.IntN(len(packet)-12)] ^= byte(1 << d.r.IntN(8))
	}
}

// tunnelled puts a packet into the tunnel to this node, not always rightly.
func (d *differential) tunnelled(packet []byte) []byte {
	o := newOuter(d.world.TunnelAddress, d.sender(), packet)
	switch d.r.IntN(12) {
	case 0:
		binary.BigEndian.PutUint32(o.vxlan[4:], (testVNI+1)<<8)
	case 1:
		binary.BigEndian.PutUint16(o.udp[2:], 4789)
	case 2:
		o.ip[1] |= congested
	case 3:
		return d.tunnelledAgain(o.packet)
	}
	return o.packet
}

// tunnelledFrom sends what has arrived once more, mostly as it was.
func (d *differential) tunnelledFrom(a arrival) []byte {
	from := a.sender
	if d.r.IntN(4) == 0 {
		from = d.sender()
	}
	o := newOuter(d.world.TunnelAddress, from, a.packet)
	if d.r.IntN(6) == 0 {
		o.ip[1] |= congested
	}
	return o.packet
}

// congested has the bits of a router's mark of either family (RFC 3168).
const congested = 0x33

func (d *differential) tunnelledAgain(packet []byte) []byte {
	return newOuter(d.world.TunnelAddress, d.sender(), packet).packet
}

// outer is a tunnel packet and its parts.
type outer struct{ packet, ip, udp, vxlan []byte }

func newOuter(to, from netip.Addr, inner []byte) outer {
	header, kind := 20, uint16(0x0800)
	if to.Is6() {
		header, kind = 40, 0x86dd
	}
	p := make([]byte, 14+header+16, 14+header+16+len(inner))
	binary.BigEndian.PutUint16(p[12:], kind)
	o := outer{ip: p[14:], udp: p[14+header:], vxlan: p[14+header+8:]}
	if to.Is4() {
		o.ip[0], o.ip[8], o.ip[9] = 0x45, 64, 17
		copy(o.ip[12:], from.AsSlice())
		copy(o.ip[16:], to.AsSlice())
	} else {
		o.ip[0], o.ip[6], o.ip[7] = 0x60, 17, 64
		copy(o.ip[8:], from.AsSlice())
		copy(o.ip[24:], to.AsSlice())
	}
	binary.BigEndian.PutUint16(o.udp[2:], 8472)
	o.vxlan[0] = 8
	binary.BigEndian.PutUint32(o.vxlan[4:], testVNI<<8)
	o.packet = append(p, inner...)
	return o
}

// FuzzProgramsAndModelAgree gives arbitrary bytes to the programs and to the model. No
// device is there but lo, so nothing is known of ways to other nodes.
func FuzzProgramsAndModelAgree(f *testing.F) {
	f.Add(uint8(0), udp(f, pod4, other4, 1, 2))
	f.Add(uint8(1), udp(f, other6, pod6, 1, 2))
	f.Add(uint8(2), udp(f, farPods[0], pod4, 1, 2))
	f.Add(uint8(3), udp(f, pod6, farPods[3], 1, 2))
	d := newDifferential(f, rand.New(rand.NewPCG(1, 1)), uplinkOf{})
	f.Cleanup(d.k.close)
	clear(d.world.TunnelHops)
	clear(d.world.NativeHops)
	f.Fuzz(func(t *testing.T, hook uint8, in []byte) {
		if len(in) < 14+40 || len(in) > 3000 {
			return // the kernel takes no such packet for a run
		}
		d.t, d.k.t = t, t
		m := model.Meeting{Hook: bpf.Hook(hook % uint8(bpf.HookFromUplink)), Ifindex: podIfindex}
		if m.Hook == bpf.HookFromOverlay {
			m.Key, m.VNI, m.Sender = true, testVNI, d.sender()
		}
		for range 2 { // the second time, the way may be known
			d.try(m, in, map[string]int{})
		}
	})
}
