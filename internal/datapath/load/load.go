// SPDX-License-Identifier: Apache-2.0

// Package load puts the eBPF maps and programs into the kernel and knows where they are
// pinned. A program is verified once, when it is loaded; attaching it is package link's.
package load

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/fairlead-io/fairlead/bpf"
)

// VNI is the VXLAN network identifier of every cluster: clusters do not share tunnels.
const VNI = 1

// Settings become read-only data of the programs.
type Settings struct {
	Gateway4, Gateway6 netip.Addr   // invalid: no range of that family
	Pods4, Pods6       netip.Prefix // the node's ranges; invalid: none of that family
	RouterMAC          [6]byte
	TunnelIfindex      int
	UplinkIfindex      int // 0: no Ethernet device
	TunnelAddress      netip.Addr
	TunnelPort         uint16
	FlowEntries        uint32

	Services                   bool
	DSR                        bool       // what is for a Service's backend on another node is handed on as it is
	NodeAddress4, NodeAddress6 netip.Addr // invalid: none of that family
	HostNetnsCookie            uint64     // of the host's network namespace
}

// Maps are the pinned maps.
type Maps struct {
	Endpoints, Ranges, Peers, ViaStack, Connections, State, FlowEvents, Metrics *ebpf.Map

	Classes, Policies, Ports, Drops *ebpf.Map

	Frontends, Pools, Slots, Backends, SourceRanges, NodeAddresses, Gone *ebpf.Map

	// Fresh tells that maps of desired state were made just now, and are empty.
	Fresh bool

	byName map[string]*ebpf.Map
}

// Sizes are those of the maps whose size is a setting. A map of another size is replaced by
// an empty one: what it holds is found out again from packets, or written again.
type Sizes struct {
	// Flows is the number of connections that are remembered, a power of two.
	Flows uint32
	// Policies is the number of rows of each map of policies; 0 is that of the declaration.
	Policies uint32
	// Frontends and Backends are for Services; 0 where they are left to kube-proxy.
	Frontends, Backends uint32
}

// slotsPerBackend is the room for slots: a power of two of them, at least ten for each
// backend of a pool, of which no node has all in pools of the worst size.
const slotsPerBackend = 16

// of returns the size of a map; 0 is the one that it was declared with.
func (s Sizes) of(name string) uint32 {
	atLeast := func(n, least uint32) uint32 { return max(n, least) }
	switch name {
	case bpf.FromPodMapFlConnections:
		return s.Flows
	case bpf.FromPodMapFlClasses, bpf.FromPodMapFlPolicies, bpf.FromPodMapFlPorts:
		return s.Policies
	case bpf.FromPodMapFlFrontends:
		return atLeast(s.Frontends, 1)
	case bpf.FromPodMapFlPools:
		return atLeast(s.Frontends, 1) + 1 // pools are numbered from 1
	case bpf.FromPodMapFlBackends:
		return atLeast(s.Backends, 1)
	case bpf.FromPodMapFlSlots:
		return atLeast(slotsPerBackend*s.Backends, 1)
	case bpf.FromPodMapFlAffinities, bpf.FromPodMapFlUdpOrigins, bpf.FromPodMapFlTranslations, bpf.FromPodMapFlFragments:
		if s.Frontends == 0 {
			return 64 // for the programs to have one
		}
	}
	return 0
}

// OpenMaps opens the pinned maps, and makes those that are not there. A map of another
// size than ours is replaced by an empty one: programs go on with the old one until they
// are replaced, and the caller fills the new one.
func OpenMaps(pins Pins, sizes Sizes, log *slog.Logger) (*Maps, error) {
	m, err := makeMaps(sizes, func(m *Maps, name string, spec *ebpf.MapSpec) error { return m.open(pins, name, spec, log) })
	if err != nil {
		return nil, err
	}
	m.Endpoints, m.Ranges, m.Peers = m.byName["fl_endpoints"], m.byName["fl_ranges"], m.byName["fl_peers"]
	m.ViaStack, m.Metrics = m.byName["fl_via_stack"], m.byName["fl_metrics"]
	m.Classes, m.Policies, m.Ports = m.byName["fl_classes"], m.byName["fl_policies"], m.byName["fl_ports"]
	m.Drops = m.byName["fl_drops"]
	m.Frontends, m.Pools, m.Slots, m.Backends = m.byName["fl_frontends"], m.byName["fl_pools"], m.byName["fl_slots"], m.byName["fl_backends"]
	m.SourceRanges, m.NodeAddresses, m.Gone = m.byName["fl_src_ranges"], m.byName["fl_node_addrs"], m.byName["fl_gone"]
	m.Connections, m.State, m.FlowEvents = m.byName["fl_connections"], m.byName["fl_state"], m.byName["fl_flow_events"]
	return m, m.seed()
}

// makeMaps makes the maps of all programs, each once.
func makeMaps(sizes Sizes, one func(m *Maps, name string, spec *ebpf.MapSpec) error) (*Maps, error) {
	m := &Maps{byName: map[string]*ebpf.Map{}}
	for _, p := range bpf.Programs() {
		spec, err := p.Load()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("maps: %w", err), m.Close())
		}
		for name, ms := range spec.Maps {
			if _, open := m.byName[name]; open || ms.Pinning != ebpf.PinByName {
				continue
			}
			if n := sizes.of(name); n != 0 {
				ms.MaxEntries = n
			}
			if err := one(m, name, ms); err != nil {
				return nil, errors.Join(err, m.Close())
			}
		}
	}
	return m, nil
}

// desired are maps of desired state that an agent must fill before programs use them.
var desired = []string{
	bpf.FromPodMapFlRanges, bpf.FromPodMapFlFrontends, bpf.FromPodMapFlBackends,
	bpf.FromPodMapFlClasses, bpf.FromPodMapFlPolicies, bpf.FromPodMapFlPorts,
}

// open opens or makes one map.
func (m *Maps) open(pins Pins, name string, spec *ebpf.MapSpec, log *slog.Logger) error {
	dir := pins.Of(name)
	_, err := os.Stat(filepath.Join(dir, name))
	made := errors.Is(err, os.ErrNotExist)
	opened, replaced, err := openMap(dir, name, spec, log)
	if err != nil {
		return err
	}
	if (made || replaced) && slices.Contains(desired, name) {
		m.Fresh = true
	}
	m.byName[name] = opened
	return nil
}

// openMap opens or makes one map, and tells whether it stands in for one of another shape.
func openMap(dir, name string, spec *ebpf.MapSpec, log *slog.Logger) (m *ebpf.Map, replaced bool, err error) {
	opts := ebpf.MapOptions{PinPath: dir}
	m, err = ebpf.NewMapWithOptions(spec, opts)
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		log.Warn("pinned map has another shape, replacing it", "map", name, "reason", err.Error())
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return nil, false, fmt.Errorf("map %s: %w", name, err)
		}
		replaced = true
		m, err = ebpf.NewMapWithOptions(spec, opts)
	}
	if err != nil {
		return nil, false, fmt.Errorf("map %s: %w", name, err)
	}
	return m, replaced, nil
}

// seed gives a new state its secret.
func (m *Maps) seed() error {
	var s bpf.State
	if err := m.State.Lookup(uint32(0), &s); err != nil {
		return fmt.Errorf("map fl_state: %w", err)
	}
	if s.Seed != 0 {
		return nil
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return fmt.Errorf("map fl_state: %w", err)
	}
	s.Seed = binary.NativeEndian.Uint64(random[:]) | 1
	if err := m.State.Put(uint32(0), s); err != nil {
		return fmt.Errorf("map fl_state: %w", err)
	}
	return nil
}

// NextEpoch makes all connections' paths be decided anew. Call it after the rows that
// they were decided by have changed.
func (m *Maps) NextEpoch() error {
	var s bpf.State
	err := m.State.Lookup(uint32(0), &s)
	if err == nil {
		s.Epoch++
		err = m.State.Put(uint32(0), s)
	}
	if err != nil {
		return fmt.Errorf("map fl_state: %w", err)
	}
	return nil
}

// Close lets go of the maps; they stay pinned.
func (m *Maps) Close() error {
	var errs []error
	for _, one := range m.byName {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

// Programs are the loaded programs.
type Programs struct {
	byHook  map[bpf.Hook]*ebpf.Program
	sockets map[string]*ebpf.Program
}

// At returns the program of a hook.
func (p *Programs) At(h bpf.Hook) *ebpf.Program { return p.byHook[h] }

// Load verifies and loads all programs with the given settings.
func (m *Maps) Load(s Settings) (*Programs, error) {
	p := &Programs{byHook: map[bpf.Hook]*ebpf.Program{}}
	for _, one := range bpf.Programs() {
		prog, err := m.loadOne(one, s)
		if err != nil {
			p.Close()
			return nil, fmt.Errorf("program %s: %w", one.Name, err)
		}
		p.byHook[one.Hook] = prog
	}
	if !s.Services {
		return p, nil
	}
	if err := m.loadSockets(p, s); err != nil {
		p.Close()
		return nil, fmt.Errorf("programs at sockets: %w", err)
	}
	return p, nil
}

func (m *Maps) loadOne(p bpf.Program, s Settings) (*ebpf.Program, error) {
	spec, err := p.Load()
	if err != nil {
		return nil, err
	}
	coll, err := m.collect(spec, s)
	if err != nil {
		return nil, err
	}
	defer coll.Close()
	return coll.DetachProgram(p.Name), nil
}

// collect loads the programs of an object with our maps.
func (m *Maps) collect(spec *ebpf.CollectionSpec, s Settings) (*ebpf.Collection, error) {
	if err := s.apply(spec); err != nil {
		return nil, err
	}
	shared := map[string]*ebpf.Map{}
	for name := range spec.Maps {
		if one, ok := m.byName[name]; ok {
			shared[name] = one
			spec.Maps[name].MaxEntries = one.MaxEntries()
		}
	}
	return ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared})
}

// apply writes those settings that a program has.
func (s Settings) apply(spec *ebpf.CollectionSpec) error {
	for name, value := range s.variables() {
		v, ok := spec.Variables[name]
		if !ok {
			continue
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return nil
}

func (s Settings) variables() map[string]any {
	vars := map[string]any{
		"cfg_router_mac":     s.RouterMAC,
		"cfg_tunnel_ifindex": uint32(s.TunnelIfindex),
		"cfg_uplink_ifindex": uint32(s.UplinkIfindex),
		"cfg_vni":            uint32(VNI),
		"cfg_tunnel_port":    s.TunnelPort<<8 | s.TunnelPort>>8, // in network byte order
		"cfg_flow_mask":      s.FlowEntries - 1,
		"cfg_gateway4":       wordsOf(s.Gateway4)[3],
		"cfg_gateway6":       wordsOf(s.Gateway6),
		"cfg_tunnel_address": wordsOf(s.TunnelAddress),
		"cfg_tunnel_ipv6":    flag(s.TunnelAddress.Is6()),
		"cfg_services":       flag(s.Services),
		"cfg_dsr":            flag(s.DSR),
		"cfg_node4":          wordsOf(s.NodeAddress4)[3],
		"cfg_node6":          wordsOf(s.NodeAddress6),

		"cfg_host_netns_cookie": s.HostNetnsCookie,
	}
	net4, mask4 := matcher(s.Pods4)
	vars["cfg_pods4"], vars["cfg_pods4_mask"] = net4[3], mask4[3]
	vars["cfg_pods6"], vars["cfg_pods6_mask"] = matcher(s.Pods6)
	return vars
}

func flag(set bool) uint8 {
	if set {
		return 1
	}
	return 0
}

// wordsOf returns an address as the programs have it, zeros for none.
func wordsOf(a netip.Addr) [4]uint32 {
	if !a.IsValid() {
		return [4]uint32{}
	}
	return bpf.AddressOf(a).Word
}

// matcher returns network and mask of a prefix. Without one, they match no address: all
// bits are compared with those of an address that no packet is sent to.
func matcher(p netip.Prefix) (network, mask [4]uint32) {
	ones := [16]byte{}
	if !p.IsValid() {
		for i := range ones {
			ones[i] = 0xff
		}
		word := bpf.AddressOf(netip.AddrFrom16(ones)).Word
		return word, word
	}
	bits, offset := p.Bits(), 0
	if p.Addr().Is4() {
		offset = 12 // the mapped form's
	}
	for i := range bits {
		ones[offset+i/8] |= 0x80 >> (i % 8)
	}
	for i := range mask {
		mask[i] = binary.NativeEndian.Uint32(ones[4*i:])
	}
	return bpf.AddressOf(p.Masked().Addr()).Word, mask
}

// Close lets go of the programs; where they are attached they stay.
func (p *Programs) Close() {
	for _, one := range p.byHook {
		one.Close()
	}
	for _, one := range p.sockets {
		one.Close()
	}
}
