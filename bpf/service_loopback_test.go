// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"net/netip"
	"testing"

	"github.com/fairlead-io/fairlead/bpf"
)

// TestLoopbackIsForItsOwnProcesses: what the node offers its own processes on the loopback
// cannot be reached from the wire, nor by a pod: the stack drops such packets as martians.
func TestLoopbackIsForItsOwnProcesses(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			loopback := netip.IPv6Loopback()
			if f.pod.Is4() {
				loopback = netip.MustParseAddr("127.0.0.1")
			}
			k := newServiceKernel(t, nil)
			k.put("fl_node_addrs", bpf.AddressOf(loopback), bpf.NodeAddress{Known: 1})
			k.choose(f.remote, backendPort, bpf.BackendPod)
			k.publish(unspecified(f), servicePort, bpf.Frontend{})
			k.publish(loopback, servicePort+1, bpf.Frontend{})
			for _, port := range []uint16{servicePort, servicePort + 1} {
				action, _ := k.arrive(udp(t, f.outside, loopback, clientPort, port))
				wantAction(t, action, actOK)
				action, _ = k.run(bpf.HookFromPod, udp(t, f.pod, loopback, clientPort, port))
				wantAction(t, action, actOK)
			}
			if rows := k.translations(); len(rows) != 0 {
				t.Errorf("translated: %v", rows)
			}
		})
	}
}
