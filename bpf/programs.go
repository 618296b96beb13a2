// SPDX-License-Identifier: Apache-2.0

package bpf

import "github.com/cilium/ebpf"

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
