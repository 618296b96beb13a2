// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/fairlead-io/fairlead/bpf"
)

// What a program may say of a packet.
const (
	actOK       = 0xffffffff // TC_ACT_UNSPEC: others on the device may say more
	actShot     = 2
	actRedirect = 7
)

// The world of these tests: two pods here, one on another node, in both families. The
// first pod's device is lo, since a test run must name a device that there is.
const (
	podIfindex    = 1
	otherIfindex  = 4242
	tunnelIfindex = 4243
	testVNI       = 1

	testSeed        = 0x5eed
	testFlowEntries = 1024
)

var (
	routerMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x01}
	podMAC    = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x0a}
	otherMAC  = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x0b}

	gateway4, gateway6 = netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("fd00:1::1")
	pod4, pod6         = netip.MustParseAddr("10.1.0.10"), netip.MustParseAddr("fd00:1::a")
	other4, other6     = netip.MustParseAddr("10.1.0.11"), netip.MustParseAddr("fd00:1::b")
	remote4, remote6   = netip.MustParseAddr("10.2.0.10"), netip.MustParseAddr("fd00:2::a")
	outside4, outside6 = netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")
	self4, node4       = netip.MustParseAddr("172.16.0.1"), netip.MustParseAddr("172.16.0.2")
)

// kernel has all programs loaded, sharing fresh maps.
type kernel struct {
	t        testing.TB
	programs map[bpf.Hook]*ebpf.Program
	maps     map[string]*ebpf.Map
	tunnel   *ebpf.Program // runs from_overlay on a packet that has a tunnel key
	entries  uint32        // rows of the table of connections
	settings map[string]any
	closers  []func()
}

func newKernel(t testing.TB) *kernel {
	t.Helper()
	return newKernelWith(t, nil)
}

// newKernelWith makes the tests' world for programs of other settings.
func newKernelWith(t testing.TB, settings map[string]any) *kernel {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("loads eBPF programs: run it as root (make test-bpf)")
	}
	k := loadKernel(t, testFlowEntries, settings)
	t.Cleanup(k.close)
	k.put("fl_state", uint32(0), bpf.State{Seed: testSeed, Epoch: 1})
	k.put("fl_peers", bpf.AddressOf(node4), bpf.Peer{Known: 1})
	k.tunnel = k.withTunnelKey(k.programs[bpf.HookFromOverlay], testVNI, node4)
	k.put("fl_endpoints", bpf.AddressOf(pod4), bpf.Endpoint{Ifindex: podIfindex, Mac: [6]byte(podMAC)})
	k.put("fl_endpoints", bpf.AddressOf(pod6), bpf.Endpoint{Ifindex: podIfindex, Mac: [6]byte(podMAC)})
	k.put("fl_endpoints", bpf.AddressOf(other4), bpf.Endpoint{Ifindex: otherIfindex, Mac: [6]byte(otherMAC)})
	k.put("fl_endpoints", bpf.AddressOf(other6), bpf.Endpoint{Ifindex: otherIfindex, Mac: [6]byte(otherMAC)})
	for _, local := range []string{"10.1.0.0/24", "fd00:1::/64"} {
		k.put("fl_ranges", bpf.RangeKeyOf(netip.MustParsePrefix(local)), bpf.Range{Flags: bpf.RangeLocal})
	}
	k.put("fl_ranges", bpf.RangeKeyOf(netip.MustParsePrefix("10.2.0.0/24")), bpf.Range{Tunnel: bpf.AddressOf(node4), Mtu: 1450})
	k.put("fl_ranges", bpf.RangeKeyOf(netip.MustParsePrefix("fd00:2::/64")), bpf.Range{Tunnel: bpf.AddressOf(node4), Mtu: 1450})
	return k
}

// loadKernel loads all programs with empty maps. Settings come on top of those of the
// tests' world.
func loadKernel(t testing.TB, entries uint32, settings map[string]any) *kernel {
	t.Helper()
	must(t, rlimit.RemoveMemlock())
	k := &kernel{t: t, programs: map[bpf.Hook]*ebpf.Program{}, maps: map[string]*ebpf.Map{}, entries: entries, settings: settings}
	for _, p := range bpf.Programs() {
		spec, err := p.Load()
		must(t, err)
		k.load(p.Hook, spec)
	}
	return k
}

func (k *kernel) close() {
	for _, c := range k.closers {
		c()
	}
	k.closers = nil
}

func (k *kernel) load(hook bpf.Hook, spec *ebpf.CollectionSpec) {
	k.t.Helper()
	shared := map[string]*ebpf.Map{}
	for name, m := range spec.Maps {
		m.Pinning = ebpf.PinNone
		switch name {
		case "fl_connections":
			m.MaxEntries = k.entries
		case "fl_via_stack":
			m.MaxEntries = 8192 // tests look at all rows
		}
		if one, ok := k.maps[name]; ok {
			shared[name] = one
		}
	}
	settings := map[string]any{
		"cfg_gateway4":       bpf.AddressOf(gateway4).Word[3],
		"cfg_gateway6":       bpf.AddressOf(gateway6).Word,
		"cfg_router_mac":     [6]byte(routerMAC),
		"cfg_tunnel_ifindex": uint32(tunnelIfindex),
		"cfg_vni":            uint32(testVNI),
		"cfg_tunnel_port":    uint16(8472>>8 | 8472&0xff<<8),
		"cfg_tunnel_address": bpf.AddressOf(self4).Word,
		"cfg_pods4":          bpf.AddressOf(netip.MustParseAddr("10.1.0.0")).Word[3],
		"cfg_pods4_mask":     bpf.AddressOf(netip.MustParseAddr("255.255.255.0")).Word[3],
		"cfg_pods6":          bpf.AddressOf(netip.MustParseAddr("fd00:1::")).Word,
		"cfg_pods6_mask":     bpf.AddressOf(netip.MustParseAddr("ffff:ffff:ffff:ffff::")).Word,
		"cfg_flow_mask":      k.entries - 1,
	}
	maps.Copy(settings, k.settings)
	for name, value := range settings {
		if v, ok := spec.Variables[name]; ok {
			must(k.t, v.Set(value))
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared})
	if err != nil {
		k.t.Fatalf("%s: %+v", bpf.HookName(hook), err)
	}
	k.closers = append(k.closers, coll.Close)
	for name, m := range coll.Maps {
		if _, ok := k.maps[name]; !ok && name[0] != '.' {
			k.maps[name] = m
		}
	}
	k.programs[hook] = coll.Programs[bpf.HookName(hook)]
}

// withTunnelKey returns a program that gives a packet a tunnel key, as the tunnel device
// does, and goes on with next.
func (k *kernel) withTunnelKey(next *ebpf.Program, vni uint32, sender netip.Addr) *ebpf.Program {
	k.t.Helper()
	return k.after(setTunnelKey(vni, sender), next)
}

// setTunnelKey gives the packet, whose context is in R6, a tunnel key.
func setTunnelKey(vni uint32, sender netip.Addr) asm.Instructions {
	// struct bpf_tunnel_key. What the sender calls its own address is the remote one to
	// the receiver.
	const size, local, flagIPv6 = 44, 28, 1
	var key [48]byte
	binary.NativeEndian.PutUint32(key[:], vni)
	flags := int32(0)
	if sender.Is4() {
		binary.NativeEndian.PutUint32(key[local:], binary.BigEndian.Uint32(sender.AsSlice()))
	} else {
		copy(key[local:], sender.AsSlice())
		flags = flagIPv6
	}
	var code asm.Instructions
	for i := 0; i < len(key); i += 8 {
		code = append(code, asm.LoadImm(asm.R1, int64(binary.NativeEndian.Uint64(key[i:])), asm.DWord),
			asm.StoreMem(asm.RFP, int16(i-len(key)), asm.R1, asm.DWord))
	}
	return append(code,
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, int32(-len(key))),
		asm.Mov.Imm(asm.R3, size), asm.Mov.Imm(asm.R4, flags),
		asm.FnSkbSetTunnelKey.Call(),
	)
}

// after returns a program that runs code, which finds its context in R6, and goes on with
// next.
func (k *kernel) after(code asm.Instructions, next *ebpf.Program) *ebpf.Program {
	k.t.Helper()
	jump, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	must(k.t, err)
	k.closers = append(k.closers, func() { jump.Close() })
	must(k.t, jump.Put(uint32(0), uint32(next.FD())))
	all := append(asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}, code...)
	all = append(all,
		asm.Mov.Reg(asm.R1, asm.R6), asm.LoadMapPtr(asm.R2, jump.FD()), asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, -1), asm.Return(),
	)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "prelude", Type: ebpf.SchedCLS, Instructions: all, License: "GPL"})
	must(k.t, err)
	k.closers = append(k.closers, func() { prog.Close() })
	return prog
}

func (k *kernel) put(table string, key, value any) {
	k.t.Helper()
	must(k.t, k.maps[table].Put(key, value))
}

// run sends a packet through a hook, as if met at the pod's device.
func (k *kernel) run(hook bpf.Hook, packet []byte) (action uint32, out []byte) {
	k.t.Helper()
	prog := k.programs[hook]
	if hook == bpf.HookFromOverlay {
		prog = k.tunnel
	}
	return k.runProgram(prog, packet)
}

func (k *kernel) runProgram(prog *ebpf.Program, packet []byte) (action uint32, out []byte) {
	k.t.Helper()
	const ifindexField = 10 // of struct __sk_buff, in words
	context := [48]uint32{ifindexField: podIfindex}
	out = make([]byte, len(packet)+256)
	opts := &ebpf.RunOptions{Data: packet, DataOut: out, Context: context}
	action, err := prog.Run(opts)
	must(k.t, err)
	return action, opts.DataOut
}

// counted returns the packets that a hook counted, by the name of the reason.
func (k *kernel) counted(hook bpf.Hook) map[string]uint64 {
	k.t.Helper()
	got := map[string]uint64{}
	for r := range bpf.ReasonSlots {
		var cpus []bpf.Counter
		must(k.t, k.maps["fl_metrics"].Lookup(uint32(hook)*uint32(bpf.ReasonSlots)+uint32(r), &cpus))
		for _, c := range cpus {
			if c.Packets > 0 {
				got[bpf.ReasonName(r)] += c.Packets
			}
		}
	}
	return got
}

// notes returns the flows that are noted to go through the stack.
func (k *kernel) notes() []bpf.Flow {
	k.t.Helper()
	var all []bpf.Flow
	var f bpf.Flow
	var n bpf.FlowNote
	rows := k.maps["fl_via_stack"].Iterate()
	for rows.Next(&f, &n) {
		all = append(all, f)
	}
	must(k.t, rows.Err())
	return all
}

// packet serialises layers, with lengths and checksums computed.
func packet(t testing.TB, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), buf.Bytes()...)
}

func ethernet(kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: podMAC, DstMAC: routerMAC, EthernetType: kind}
}

// ip returns the Ethernet and IP headers of a packet.
func ip(src, dst netip.Addr, next layers.IPProtocol) []gopacket.SerializableLayer {
	if src.Is4() {
		return []gopacket.SerializableLayer{ethernet(layers.EthernetTypeIPv4), &layers.IPv4{
			Version: 4, TTL: 64, Protocol: next, SrcIP: src.AsSlice(), DstIP: dst.AsSlice(),
		}}
	}
	return []gopacket.SerializableLayer{ethernet(layers.EthernetTypeIPv6), &layers.IPv6{
		Version: 6, HopLimit: 64, NextHeader: next, SrcIP: src.AsSlice(), DstIP: dst.AsSlice(),
	}}
}

func payload() gopacket.Payload { return gopacket.Payload("all hands on deck") }

// udp returns a datagram.
func udp(t testing.TB, src, dst netip.Addr, sport, dport uint16) []byte {
	t.Helper()
	head := ip(src, dst, layers.IPProtocolUDP)
	u := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	if err := u.SetNetworkLayerForChecksum(head[1].(gopacket.NetworkLayer)); err != nil {
		t.Fatal(err)
	}
	return packet(t, append(head, u, payload())...)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
