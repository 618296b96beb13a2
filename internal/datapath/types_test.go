// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEndpointAsJSON(t *testing.T) {
	ep := Endpoint{
		EndpointSpec: EndpointSpec{ContainerID: "c1", IfName: "eth0", Netns: "/run/netns/x", Addresses: addresses("10.244.1.2", "fd00:1::2")},
		HostIf:       "fl0123456789ab", HostIfIndex: 7,
		PodMAC: MAC{2, 0, 0, 0, 0, 1}, HostMAC: MAC{2, 0, 0, 0, 0, 2}, MTU: 1450, LinkMTU: 1500,
		Gateways: addresses("10.244.1.1", "fd00:1::1"),
	}
	stored, err := json.Marshal(ep)
	wantError(t, err)
	const want = `{"containerID":"c1","ifName":"eth0","netns":"/run/netns/x","addresses":["10.244.1.2","fd00:1::2"],` +
		`"hostIf":"fl0123456789ab","hostIfIndex":7,"podMAC":"02:00:00:00:00:01","hostMAC":"02:00:00:00:00:02",` +
		`"mtu":1450,"linkMTU":1500,"gateways":["10.244.1.1","fd00:1::1"]}`
	if string(stored) != want {
		t.Errorf("stored as\n%s\nwant\n%s", stored, want)
	}
	var back Endpoint
	wantError(t, json.Unmarshal(stored, &back))
	if diff := cmp.Diff(ep, back, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("read back (-stored +read):\n%s", diff)
	}
}

// FuzzEndpointJSON: an endpoint that was stored may be read back damaged.
func FuzzEndpointJSON(f *testing.F) {
	f.Add([]byte(`{"containerID":"c1","addresses":["10.244.1.2"],"podMAC":"02:00:00:00:00:01","gateways":["10.244.1.1"]}`))
	f.Add([]byte(`{"podMAC":"","hostMAC":"x"}`))
	f.Fuzz(func(t *testing.T, stored []byte) {
		var ep Endpoint
		if json.Unmarshal(stored, &ep) != nil {
			return
		}
		again, err := json.Marshal(ep)
		if err != nil {
			t.Fatalf("what was read cannot be stored: %v", err)
		}
		var back Endpoint
		if err := json.Unmarshal(again, &back); err != nil {
			t.Fatalf("what was stored cannot be read: %v", err)
		}
	})
}
