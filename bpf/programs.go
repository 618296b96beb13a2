// SPDX-License-Identifier: Apache-2.0

package bpf

import "github.com/cilium/ebpf"

// Program is one program of the datapath.
type Program struct {
	Name string // of the program in its object, at most 15 bytes
	Load func() (*ebpf.CollectionSpec, error)
}

// Programs returns all programs, so that what must hold for each of them (that a kernel's
// verifier takes it, for one) is tried on each of them.
func Programs() []Program {
	return []Program{
		{FromPodProgFromPod, LoadFromPod},
		{ToPodProgToPod, LoadToPod},
		{FromOverlayProgFromOverlay, LoadFromOverlay},
		{ToOverlayProgToOverlay, LoadToOverlay},
	}
}
