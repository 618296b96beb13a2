// SPDX-License-Identifier: Apache-2.0

package lossy

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/fairlead-io/fairlead/bpf"
)

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// load has the verifier look at an object's programs with the loss before one, or without.
func load(t *testing.T, loader func() (*ebpf.CollectionSpec, error), program string, pods *Pods) *ebpf.Program {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("loads eBPF programs: run it as root (make test-bpf)")
	}
	noError(t, rlimit.RemoveMemlock())
	spec, err := loader()
	noError(t, err)
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinNone
	}
	if pods != nil {
		Prepend(spec, program, *pods)
	}
	c, err := ebpf.NewCollection(spec)
	noError(t, err)
	t.Cleanup(c.Close)
	return c.Programs[program]
}

// packet is a datagram of 64 bytes in a frame, with a protocol's number.
func packet(t *testing.T, from, to string, protocol byte, port uint16) []byte {
	t.Helper()
	src, dst := netip.MustParseAddr(from), netip.MustParseAddr(to)
	p := make([]byte, 12)
	if dst.Is4() {
		p = append(p, 8, 0, 0x45, 0, 0, 92, 0, 0, 0, 0, 64, protocol, 0, 0)
	} else {
		p = append(p, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 72, protocol, 64)
	}
	p = append(append(p, src.AsSlice()...), dst.AsSlice()...)
	p = binary.BigEndian.AppendUint16(append(p, 0x30, 0x39), port)
	return append(p, make([]byte, 68)...)
}

// TestWhatIsLost: 2 % of what is for pods, whichever way it comes, and nothing of the rest.
func TestWhatIsLost(t *testing.T) {
	pods := &Pods{Range4: netip.MustParsePrefix("10.244.1.0/24"), Range6: netip.MustParsePrefix("fd00:244:0:1:8000::/66"), TunnelPort: 8472, HasUplink: true}
	lossy := load(t, bpf.LoadFromUplink, "from_uplink", pods)
	sound := load(t, bpf.LoadFromUplink, "from_uplink", nil)
	const udp, tcp = 17, 6
	for name, c := range map[string]struct {
		packet []byte
		lost   bool
	}{
		"in the tunnel":                      {packet(t, "192.0.2.1", "192.0.2.2", udp, 8472), true},
		"in the tunnel by IPv6":              {packet(t, "2001:db8::1", "2001:db8::2", udp, 8472), true},
		"natively":                           {packet(t, "10.244.2.9", "10.244.1.9", tcp, 80), true},
		"natively by IPv6":                   {packet(t, "fd00:244:0:2::9", "fd00:244:0:1:8001::9", udp, 53), true},
		"to the host":                        {packet(t, "192.0.2.1", "192.0.2.2", tcp, 10250), false},
		"to the host by UDP":                 {packet(t, "192.0.2.1", "192.0.2.2", udp, 53), false},
		"to the host by IPv6":                {packet(t, "2001:db8::1", "2001:db8::2", tcp, 10250), false},
		"over TCP to the port of the tunnel": {packet(t, "192.0.2.1", "192.0.2.2", tcp, 8472), false},
		"to another node's pod":              {packet(t, "10.244.2.9", "10.244.3.9", tcp, 80), false},
		"to another node's pod by IPv6":      {packet(t, "fd00:244:0:2::9", "fd00:244:0:1:4000::9", tcp, 80), false},
		"something short":                    {packet(t, "192.0.2.1", "192.0.2.2", udp, 8472)[:50], false},
	} {
		t.Run(name, func(t *testing.T) {
			const sent = 20000
			want, _, err := sound.Test(c.packet)
			noError(t, err)
			lost := 0
			for range sent {
				got, _, err := lossy.Test(c.packet)
				noError(t, err)
				switch {
				case got == want:
				case got == 2:
					lost++
				default:
					t.Fatalf("the program says %d, want %d", int32(got), int32(want))
				}
			}
			if c.lost && (lost < sent/OneOf-100 || lost > sent/OneOf+100) || !c.lost && lost != 0 {
				t.Errorf("%d of %d lost, want %t", lost, sent, c.lost)
			}
		})
	}
}

// TestWithoutAnUplink: the tunnel's device is the only one that has a program.
func TestWithoutAnUplink(t *testing.T) {
	load(t, bpf.LoadFromOverlay, "from_overlay", &Pods{})
	load(t, bpf.LoadFromUplink, "from_uplink", &Pods{HasUplink: true}) // no ranges yet
}
