// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// Rehearse has the kernel verify all programs with the given settings, in maps of these
// sizes that are pinned nowhere, and lets go of all of it: nothing is attached, nothing
// that exists is opened.
func Rehearse(sizes Sizes, s Settings) error {
	m, err := makeMaps(sizes, func(m *Maps, name string, spec *ebpf.MapSpec) error {
		spec.Pinning = ebpf.PinNone
		made, err := ebpf.NewMap(spec)
		if err != nil {
			return fmt.Errorf("map %s: %w", name, err)
		}
		m.byName[name] = made
		return nil
	})
	if err != nil {
		return err
	}
	defer m.Close() //nolint:errcheck // nothing was written to them
	p, err := m.Load(s)
	if err != nil {
		return err
	}
	p.Close()
	return nil
}
