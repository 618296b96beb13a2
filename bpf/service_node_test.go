// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"net/netip"
	"testing"

	"github.com/fairlead-io/fairlead/bpf"
)

// TestHandedOn: what another node has handed on goes to a backend of this node, whichever of all it
// falls to, with the client's address; the answer has the address that the client asked, which
// is the other node's.
func TestHandedOn(t *testing.T) {
	asked := map[string]netip.Addr{"IPv4": node4, "IPv6": node6}
	for _, f := range families {
		k := newServiceKernel(t, nil)
		k.publish(unspecified(f), servicePort, bpf.Frontend{})
		k.put("fl_pools", testPool, bpf.Pool{Base: 8, Slots: 8})
		for i := range uint32(8) {
			k.put("fl_slots", 8+i, 5+i%2)
		}
		k.put("fl_backends", uint32(5), bpf.Backend{Address: bpf.AddressOf(f.remote), Port: order(backendPort), Flags: bpf.BackendPod, Pool: testPool})
		k.put("fl_backends", uint32(6), bpf.Backend{Address: bpf.AddressOf(f.pod), Port: order(backendPort), Flags: bpf.BackendLocal | bpf.BackendPod, Pool: testPool})
		for port := range uint16(20) {
			action, out := k.run(bpf.HookFromOverlay, udp(t, f.outside, asked[f.name], 1000+port, servicePort))
			wantAction(t, action, actRedirect)
			wantBytes(t, out, rewritten(udp(t, f.outside, f.pod, 1000+port, backendPort), podMAC, routerMAC))
		}
		_, out := k.run(bpf.HookFromPod, udp(t, f.pod, f.outside, backendPort, 1001))
		wantBytes(t, out, udp(t, asked[f.name], f.outside, servicePort, 1001))

		// Where none is here any more, it goes on with the router's address.
		for i := range uint32(8) {
			k.put("fl_slots", 8+i, uint32(5))
		}
		k.run(bpf.HookFromOverlay, udp(t, f.outside, asked[f.name], 900, servicePort))
		if row, ok := k.translationOf(f.outside, asked[f.name], 900, servicePort, datagrams); !ok || bpf.Netip(row.Src) != f.gateway || bpf.Netip(row.Dst) != f.remote {
			t.Errorf("%s: row %+v (%t), want one from the router to the other backend", f.name, row, ok)
		}
	}
}

// TestHopLimit: what goes out to a backend that is no pod has one hop less, and cannot go round.
func TestHopLimit(t *testing.T) {
	for _, f := range families {
		for _, limit := range []byte{64, 1} {
			k := newServiceKernel(t, nil)
			k.choose(f.outside, backendPort, 0)
			k.publish(unspecified(f), servicePort, bpf.Frontend{})
			in := udp(t, netip.MustParseAddr(map[string]string{"IPv4": "192.0.2.10", "IPv6": "2001:db8::a"}[f.name]), f.node(), clientPort, servicePort)
			at := 14 + 8
			if f.pod.Is6() {
				at = 14 + 7
			}
			in[at] = limit
			action, out := k.arrive(in)
			if out[at] != limit-1 && limit > 1 {
				t.Errorf("%s: hop limit %d became %d", f.name, limit, out[at])
			}
			if limit == 1 {
				wantAction(t, action, actShot)
				wantReasons(t, k, bpf.HookFromUplink, "unrouted")
			}
		}
	}
}

// TestUnknownNode: a packet to a pod of a node that is not known is lost here, and does not leave by
// the default route with an address that nobody else can answer.
func TestUnknownNode(t *testing.T) {
	f := families[0]
	k := newServiceKernel(t, nil)
	k.choose(netip.MustParseAddr("10.77.0.9"), backendPort, bpf.BackendPod)
	k.publish(unspecified(f), servicePort, bpf.Frontend{})
	in := udp(t, f.outside, f.node(), clientPort, servicePort)
	action, out := k.arrive(in)
	wantAction(t, action, actShot)
	wantReasons(t, k, bpf.HookFromUplink, "unrouted")
	wantBytes(t, out[12:], in[12:]) // not even tried
}

// TestAnswersOfTheHost: what a backend on the host itself answers gets the Service's address where it
// leaves, and nothing else that leaves is changed.
func TestAnswersOfTheHost(t *testing.T) {
	for _, f := range families {
		k := newServiceKernel(t, nil)
		k.choose(f.node(), backendPort, bpf.BackendLocal)
		k.publish(unspecified(f), servicePort, bpf.Frontend{})
		action, out := k.arrive(udp(t, f.outside, f.node(), clientPort, servicePort))
		wantAction(t, action, actOK)
		wantBytes(t, out, rewritten(udp(t, f.outside, f.node(), clientPort, backendPort), make([]byte, 6), otherMAC))
		action, out = k.run(bpf.HookToUplink, udp(t, f.node(), f.outside, backendPort, clientPort))
		wantAction(t, action, actOK)
		wantBytes(t, out, udp(t, f.node(), f.outside, servicePort, clientPort))
		for _, other := range [][]byte{
			udp(t, f.node(), f.outside, backendPort, clientPort+1),
			udp(t, f.node(), f.outside, servicePort, clientPort),
			segment(t, f.node(), f.outside, backendPort, clientPort, "SA", ""),
		} {
			_, out = k.run(bpf.HookToUplink, other)
			wantBytes(t, out, other)
		}
	}
}
