// SPDX-License-Identifier: Apache-2.0

// Package load puts the eBPF maps and programs into the kernel and knows where they are
// pinned. A program is verified once, when it is loaded; attaching it is package link's.
package load

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"

	"github.com/fairlead-io/fairlead/bpf"
)

// VNI is the VXLAN network identifier of every cluster: clusters do not share tunnels.
const VNI = 1

// Pins are the places below a BPF file system.
type Pins struct{ root string }

// PinsBelow returns the places below a BPF file system's mount point.
func PinsBelow(bpffs string) Pins { return Pins{root: filepath.Join(bpffs, "fairlead")} }

// Root is the directory of everything of ours, whatever its version.
func (p Pins) Root() string { return p.root }

// Host is the directory of what does not depend on the version of the maps.
func (p Pins) Host() string { return filepath.Join(p.root, "host") }

// Maps is the directory of the maps of this version.
func (p Pins) Maps() string {
	return filepath.Join(p.root, fmt.Sprintf("v%d", bpf.LayoutVersion), "maps")
}

// Links is the directory of the attachments.
func (p Pins) Links() string {
	return filepath.Join(p.root, fmt.Sprintf("v%d", bpf.LayoutVersion), "links")
}

// Link is the pin of one attachment.
func (p Pins) Link(device, hook string) string { return filepath.Join(p.Links(), device+"_"+hook) }

// Make creates the directories.
func (p Pins) Make() error {
	for _, dir := range []string{p.Host(), p.Maps(), p.Links()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("pins: %w", err)
		}
	}
	return nil
}

// Settings become read-only data of the programs.
type Settings struct {
	Gateway4, Gateway6 netip.Addr // invalid: no range of that family
	RouterMAC          [6]byte
	TunnelIfindex      int
}

// Maps are the pinned maps.
type Maps struct {
	Endpoints, Ranges, ViaStack, Metrics *ebpf.Map

	byName map[string]*ebpf.Map
}

// OpenMaps opens the pinned maps, and makes those that are not there. A map of another
// size than ours is replaced by an empty one: programs go on with the old one until they
// are replaced, and the caller fills the new one.
func OpenMaps(pins Pins, log *slog.Logger) (*Maps, error) {
	spec, err := bpf.LoadFromPod()
	if err != nil {
		return nil, fmt.Errorf("maps: %w", err)
	}
	m := &Maps{byName: map[string]*ebpf.Map{}}
	for name, ms := range spec.Maps {
		if ms.Pinning != ebpf.PinByName {
			continue
		}
		opened, err := openMap(pins.Maps(), name, ms, log)
		if err != nil {
			m.Close()
			return nil, err
		}
		m.byName[name] = opened
	}
	m.Endpoints, m.Ranges = m.byName[bpf.FromPodMapFlEndpoints], m.byName[bpf.FromPodMapFlRanges]
	m.ViaStack, m.Metrics = m.byName[bpf.FromPodMapFlViaStack], m.byName[bpf.FromPodMapFlMetrics]
	return m, nil
}

func openMap(dir, name string, spec *ebpf.MapSpec, log *slog.Logger) (*ebpf.Map, error) {
	opts := ebpf.MapOptions{PinPath: dir}
	m, err := ebpf.NewMapWithOptions(spec, opts)
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		log.Warn("pinned map has another shape, replacing it", "map", name, "reason", err.Error())
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return nil, fmt.Errorf("map %s: %w", name, err)
		}
		m, err = ebpf.NewMapWithOptions(spec, opts)
	}
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", name, err)
	}
	return m, nil
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
	FromPod, ToPod, FromOverlay, ToOverlay *ebpf.Program
}

// Load verifies and loads all programs with the given settings.
func (m *Maps) Load(s Settings) (*Programs, error) {
	p := &Programs{}
	for _, one := range []struct {
		hook bpf.Hook
		spec func() (*ebpf.CollectionSpec, error)
		to   **ebpf.Program
	}{
		{bpf.HookFromPod, bpf.LoadFromPod, &p.FromPod},
		{bpf.HookToPod, bpf.LoadToPod, &p.ToPod},
		{bpf.HookFromOverlay, bpf.LoadFromOverlay, &p.FromOverlay},
		{bpf.HookToOverlay, bpf.LoadToOverlay, &p.ToOverlay},
	} {
		prog, err := m.loadOne(bpf.HookName(one.hook), one.spec, s)
		if err != nil {
			p.Close()
			return nil, err
		}
		*one.to = prog
	}
	return p, nil
}

func (m *Maps) loadOne(name string, load func() (*ebpf.CollectionSpec, error), s Settings) (*ebpf.Program, error) {
	spec, err := load()
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", name, err)
	}
	if err := s.apply(spec); err != nil {
		return nil, fmt.Errorf("program %s: %w", name, err)
	}
	shared := map[string]*ebpf.Map{}
	for name := range spec.Maps {
		if one, ok := m.byName[name]; ok {
			shared[name] = one
		}
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared})
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", name, err)
	}
	defer coll.Close()
	return coll.DetachProgram(name), nil
}

// apply writes those settings that a program has.
func (s Settings) apply(spec *ebpf.CollectionSpec) error {
	var gateway4 uint32
	var gateway6 [4]uint32
	if s.Gateway4.IsValid() {
		gateway4 = bpf.AddressOf(s.Gateway4).Word[3]
	}
	if s.Gateway6.IsValid() {
		gateway6 = bpf.AddressOf(s.Gateway6).Word
	}
	for name, value := range map[string]any{
		"cfg_gateway4":       gateway4,
		"cfg_gateway6":       gateway6,
		"cfg_router_mac":     s.RouterMAC,
		"cfg_tunnel_ifindex": uint32(s.TunnelIfindex),
		"cfg_vni":            uint32(VNI),
	} {
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

// Close lets go of the programs; where they are attached they stay.
func (p *Programs) Close() {
	for _, one := range []*ebpf.Program{p.FromPod, p.ToPod, p.FromOverlay, p.ToOverlay} {
		if one != nil {
			one.Close()
		}
	}
}
