// SPDX-License-Identifier: Apache-2.0

package topo

import "testing"

// header is an IPv4 header and the first bytes behind it.
func header(protocol, firstOfSource byte, behind ...byte) []byte {
	h := make([]byte, 20, 24)
	h[0], h[9], h[12] = 0x45, protocol, firstOfSource
	return append(h, behind...)
}

func TestCarriageOf(t *testing.T) {
	const tcp, udp = 6, 17
	for name, tc := range map[string]struct {
		packet []byte
		want   carriage
	}{
		"a pod's own packet":               {header(tcp, 10, 0, 80, 1, 2), routed},
		"VXLAN between nodes":              {header(udp, 192, 1, 2, 8472>>8, 8472&0xff), tunnelled},
		"another datagram of a node":       {header(udp, 192, 1, 2, 0, 53), ""},
		"TCP of a node, same port":         {header(tcp, 192, 1, 2, 8472>>8, 8472&0xff), ""},
		"IPv6":                             {append([]byte{0x60}, make([]byte, 39)...), ""},
		"a packet that is cut off":         {header(udp, 192, 1, 2), ""},
		"ARP, whose first byte is 0":       {make([]byte, 28), ""},
		"nothing":                          {nil, ""},
		"a pod's datagram to VXLAN's port": {header(udp, 10, 1, 2, 8472>>8, 8472&0xff), routed},
	} {
		t.Run(name, func(t *testing.T) {
			if got := carriageOf(tc.packet); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
