// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"maps"
	"slices"

	"github.com/cilium/ebpf"
)

// Program is one of the pod network's programs.
type Program struct {
	Hook Hook
	// Name is that of the program in its object, and of its hook.
	Name string
	// Load returns a fresh specification of the object.
	Load func() (*ebpf.CollectionSpec, error)
}

// Programs returns all programs, in the order of their hooks.
func Programs() []Program {
	all := []Program{
		{Hook: HookFromPod, Load: LoadFromPod},
		{Hook: HookToPod, Load: LoadToPod},
		{Hook: HookFromOverlay, Load: LoadFromOverlay},
		{Hook: HookToOverlay, Load: LoadToOverlay},
		{Hook: HookFromUplink, Load: LoadFromUplink},
		{Hook: HookToUplink, Load: LoadToUplink},
	}
	for i := range all {
		all[i].Name = HookName(all[i].Hook)
	}
	return all
}

// SocketPrograms returns the names of the programs of a cgroup's sockets, all of the object
// of LoadSock.
func SocketPrograms() ([]string, error) {
	spec, err := LoadSock()
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(spec.Programs)), nil
}
