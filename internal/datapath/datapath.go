// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/link"
	"github.com/fairlead-io/fairlead/internal/datapath/load"
	"github.com/fairlead-io/fairlead/internal/datapath/netns"
	"github.com/fairlead-io/fairlead/internal/datapath/route"
	"github.com/fairlead-io/fairlead/internal/datapath/sysctl"
	"github.com/fairlead-io/fairlead/internal/datapath/table"
)

// Datapath is the pod network of this node.
type Datapath struct {
	opts Options
	log  *slog.Logger
	pins load.Pins

	mu       sync.Mutex
	closed   bool
	ns       *netns.NS
	nl       *netlink.Handle
	sysctls  *sysctl.Memory
	maps     *load.Maps
	programs *load.Programs
	settings load.Settings // of programs

	uplink  link.Device
	plan    nodePlan
	settled bool   // plan is in force; false after a configure that failed
	peers   []Peer // as last given to SyncPeers; nil before
	waiting bool   // programs of another layout stay in force until our maps are filled

	endpoints *table.Table[netip.Addr, bpf.Endpoint]
	ranges    *table.Table[netip.Prefix, bpf.Range]
	senders   *table.Table[netip.Addr, bpf.Peer]
	routes    *table.Table[netip.Prefix, route.Route]
	live      map[string]Endpoint // by HostIf
	flowRows  flowRows
	ending    *ending // nil: sockets are not ended

	nodeAddresses *table.Table[netip.Addr, bpf.NodeAddress]
	policies      *policyTable  // nil: none are enforced
	services      *serviceTable // nil: they are left to kube-proxy
	servicesKnown bool          // all of them have been told
}

// sizes are those of the maps.
func (o Options) sizes() load.Sizes {
	s := load.Sizes{Flows: uint32(o.FlowEntries), Policies: uint32(o.PolicyEntries)}
	if o.Services {
		s.Frontends, s.Backends = uint32(o.ServiceFrontends), uint32(o.ServiceBackends)
	}
	return s
}

// validate says which option cannot be.
func (o Options) validate() error {
	var errs []error
	if o.Routing != RoutingTunnel && o.Routing != RoutingNative {
		errs = append(errs, fmt.Errorf("routing %q: want %s or %s", o.Routing, RoutingTunnel, RoutingNative))
	}
	if o.ServiceForwarding != ForwardSNAT && o.ServiceForwarding != ForwardDSR {
		errs = append(errs, fmt.Errorf("service forwarding %q: want %s or %s", o.ServiceForwarding, ForwardSNAT, ForwardDSR))
	}
	if n := o.FlowEntries; n < MinFlowEntries || n > MaxFlowEntries || n&(n-1) != 0 {
		errs = append(errs, fmt.Errorf("flow entries %d: want a power of two from %d to %d", n, MinFlowEntries, MaxFlowEntries))
	}
	for name, n := range map[string]int{"frontends": o.ServiceFrontends, "backends": o.ServiceBackends} {
		if n < MinServiceEntries || n > MaxServiceEntries {
			errs = append(errs, fmt.Errorf("service %s %d: want %d to %d", name, n, MinServiceEntries, MaxServiceEntries))
		}
	}
	if n := o.PolicyEntries; n < MinPolicyEntries || n > MaxPolicyEntries {
		errs = append(errs, fmt.Errorf("policy entries %d: want %d to %d", n, MinPolicyEntries, MaxPolicyEntries))
	}
	for i, p := range o.MasqueradeExceptions {
		if !p.IsValid() || p.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("masquerade exception %d (%s): is not a valid prefix", i, p))
		}
	}
	return errors.Join(errs...)
}

// layoutVersion is set by the linker in programs that try the change to another layout.
var layoutVersion string

// withDefaults fills in what the zero values of o stand for.
func (o Options) withDefaults() Options {
	if o.BPFFS == "" {
		o.BPFFS = DefaultBPFFS
	}
	if o.TunnelPort == 0 {
		o.TunnelPort = DefaultTunnelPort
	}
	if o.Routing == "" {
		o.Routing = RoutingTunnel
	}
	if o.ServiceFrontends == 0 {
		o.ServiceFrontends = DefaultServiceFrontends
	}
	if o.ServiceBackends == 0 {
		o.ServiceBackends = DefaultServiceBackends
	}
	if o.PolicyEntries == 0 {
		o.PolicyEntries = DefaultPolicyEntries
	}
	if o.ServiceForwarding == "" {
		o.ServiceForwarding = ForwardSNAT
	}
	if o.FlowEntries == 0 {
		o.FlowEntries = DefaultFlowEntries
	}
	if o.layout == 0 {
		o.layout = bpf.LayoutVersion
		if n, err := strconv.Atoi(layoutVersion); err == nil {
			o.layout = n
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return o
}

// Open makes this node's datapath, or takes over the one that an earlier run left: pinned
// maps are used on, the tunnel's programs are exchanged without a gap. Rows and programs
// of pods stay as they are until RestoreEndpoints, those of peers until SyncPeers.
//
// An error names the field of node or opts that is wrong.
func Open(ctx context.Context, opts Options, node Node) (*Datapath, error) {
	opts = opts.withDefaults()
	if err := errors.Join(opts.validate(), validateNode(node)); err != nil {
		return nil, err
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("datapath: lift the limit of locked memory: %w", err)
	}
	if err := mountBPFFS(opts.BPFFS, opts.Log); err != nil {
		return nil, err
	}
	d := &Datapath{opts: opts, log: opts.Log, pins: load.PinsBelow(opts.BPFFS, opts.layout), live: map[string]Endpoint{}}
	if err := d.open(ctx, node); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Datapath) open(ctx context.Context, node Node) (err error) {
	if d.ns, err = netns.Current(); err != nil {
		return err
	}
	if d.nl, err = link.HandleAt(d.ns); err != nil {
		return err
	}
	if err = d.pins.Make(); err != nil {
		return err
	}
	if d.sysctls, err = sysctl.OpenMemory(d.pins.Host()); err != nil {
		return err
	}
	if d.maps, err = load.OpenMaps(d.pins, d.opts.sizes(), d.log); err != nil {
		return err
	}
	if d.waiting, err = d.othersInForce(); err != nil {
		return err
	}
	d.endpoints = table.New("endpoints", d.endpointRows())
	d.ranges = table.New("ranges", rangeRows{d.maps.Ranges})
	d.senders = table.New("peers", addressRows[bpf.Peer]{d.maps.Peers, bpf.FromOverlayMapFlPeers, "remove nodes from the cluster"})
	d.routes = table.New("routes", route.Kernel{Handle: d.nl})
	d.nodeAddresses = table.New("node addresses", addressRows[bpf.NodeAddress]{d.maps.NodeAddresses, bpf.FromPodMapFlNodeAddrs, "remove addresses from the node"})
	if err = errors.Join(d.endpoints.Resync(), d.ranges.Resync(), d.senders.Resync(), d.nodeAddresses.Resync()); err != nil {
		return err
	}
	if d.opts.Policies {
		if d.policies, err = openPolicies(d.maps); err != nil {
			return err
		}
	}
	if d.opts.Services {
		if d.services, err = openServices(d.maps, d.isPod); err != nil {
			return err
		}
		d.ending = d.startEnding()
	}
	return d.ns.Do(func() error { return d.configure(ctx, node) })
}

// Close lets go of the datapath, which goes on working: everything is pinned.
func (d *Datapath) Close() error {
	d.mu.Lock()
	closed := d.closed
	d.closed = true
	d.mu.Unlock()
	if closed {
		return nil
	}
	d.ending.close() // it asks for the pods
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.programs != nil {
		d.programs.Close()
	}
	var errs []error
	if d.maps != nil {
		errs = append(errs, d.maps.Close())
	}
	if d.sysctls != nil {
		errs = append(errs, d.sysctls.Close())
	}
	if d.nl != nil {
		d.nl.Close()
	}
	if d.ns != nil {
		errs = append(errs, d.ns.Close())
	}
	return errors.Join(errs...)
}

// locked runs fn in the node's network namespace with the datapath to itself.
func (d *Datapath) locked(ctx context.Context, fn func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.ns.Do(fn)
}

// MTU is that of new pods, in bytes.
func (d *Datapath) MTU() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.plan.mtu
}

// Gateways are the pods' gateways, in the order of the node's podCIDRs.
func (d *Datapath) Gateways() []netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.plan.gateways)
}
