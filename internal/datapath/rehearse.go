// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/fairlead-io/fairlead/internal/datapath/load"
)

// Rehearse does what of Open can be done while another process has the datapath open: the
// machine is probed, and the kernel verifies every program with these options. It changes
// nothing, and needs a few MiB of the kernel's memory while it runs.
func Rehearse(opts Options) error {
	opts = opts.withDefaults()
	if err := errors.Join(opts.validate(), Probe(opts)); err != nil {
		return err
	}
	if mounted, err := isBPFFS(opts.BPFFS); err != nil || !mounted {
		return errors.Join(err, fmt.Errorf("BPF file system: none is mounted at %s: mount it on the host: mount -t bpf bpf %s", opts.BPFFS, opts.BPFFS))
	}
	// What is verified does not depend on how large maps are.
	sizes := load.Sizes{Flows: MinFlowEntries}
	if opts.Services {
		sizes.Frontends, sizes.Backends = MinServiceEntries, MinServiceEntries
	}
	for _, tunnel := range []string{"192.0.2.1", "2001:db8::1"} {
		if err := load.Rehearse(sizes, opts.rehearsal(netip.MustParseAddr(tunnel))); err != nil {
			return fmt.Errorf("the kernel refuses programs of this version: %w", err)
		}
	}
	return nil
}

// rehearsal are settings of a node with pods of both families, and tunnels from an address.
// Programs are verified with every branch that settings of that kind leave open.
func (o Options) rehearsal(tunnel netip.Addr) load.Settings {
	return load.Settings{
		Gateway4: netip.MustParseAddr("198.51.100.1"), Gateway6: netip.MustParseAddr("2001:db8:1::1"),
		Pods4: netip.MustParsePrefix("198.51.100.0/24"), Pods6: netip.MustParsePrefix("2001:db8:1::/64"),
		RouterMAC: [6]byte(load.RouterMAC("")), TunnelIfindex: 1, UplinkIfindex: 2,
		TunnelAddress: tunnel, TunnelPort: o.TunnelPort, FlowEntries: MinFlowEntries,
		Services: o.Services, DSR: o.ServiceForwarding == ForwardDSR,
		NodeAddress4: netip.MustParseAddr("192.0.2.1"), NodeAddress6: netip.MustParseAddr("2001:db8::1"), HostNetnsCookie: 1,
	}
}
