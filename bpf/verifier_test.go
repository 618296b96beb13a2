// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/fairlead-io/fairlead/bpf"
)

// mostVerified bounds what the verifier has to go through for one program: loading must
// stay quick, and older kernels must not run into their limit.
const mostVerified = 20000

func TestEveryProgramPassesTheVerifier(t *testing.T) {
	for name, settings := range map[string]map[string]any{
		"plain":                    nil,
		"Services":                 {"cfg_services": uint8(1)},
		"Services, direct answers": {"cfg_services": uint8(1), "cfg_dsr": uint8(1), "cfg_uplink_ifindex": uint32(podIfindex)},
	} {
		t.Run(name, func(t *testing.T) {
			k := loadKernel(t, testFlowEntries, settings)
			defer k.close()
			for _, s := range bpf.Programs() {
				checkVerified(t, bpf.HookName(s.Hook), k.programs[s.Hook])
			}
		})
	}
}

// TestSocketProgramsPassTheVerifier: every connect and every datagram with an address pays
// for them, so they are short too.
func TestSocketProgramsPassTheVerifier(t *testing.T) {
	must(t, rlimit.RemoveMemlock())
	for _, load := range []func() (*ebpf.CollectionSpec, error){bpf.LoadSock, bpf.LoadSockEnd} {
		spec, err := load()
		must(t, err)
		for _, m := range spec.Maps {
			m.Pinning = ebpf.PinNone
		}
		coll, err := ebpf.NewCollection(spec)
		must(t, err)
		defer coll.Close()
		for name, program := range coll.Programs {
			checkVerified(t, name, program)
		}
	}
}

func checkVerified(t *testing.T, name string, program *ebpf.Program) {
	t.Helper()
	info, err := program.Info()
	must(t, err)
	n, ok := info.VerifiedInstructions()
	if !ok {
		t.Fatalf("%s: the kernel does not say how many instructions it verified", name)
	}
	size, err := info.TranslatedSize()
	must(t, err)
	t.Logf("%-12s %5d instructions, %6d verified", name, size/8, n)
	if n > mostVerified {
		t.Errorf("%s: %d instructions verified, at most %d are wanted", name, n, mostVerified)
	}
}

// TestNamesFit: the kernel cuts longer names, and tools then show the wrong ones.
func TestNamesFit(t *testing.T) {
	for _, s := range bpf.Programs() {
		spec, err := s.Load()
		must(t, err)
		for name := range spec.Maps {
			if len(name) > 15 {
				t.Errorf("map %s: name is longer than 15 bytes", name)
			}
		}
		for name := range spec.Programs {
			if len(name) > 15 {
				t.Errorf("program %s: name is longer than 15 bytes", name)
			}
		}
	}
}

func TestEveryReasonHasAName(t *testing.T) {
	k := newKernel(t)
	seen := map[string]bool{"": true}
	for r := range bpf.ReasonSlots {
		forwarded := r <= bpf.ReasonServiceTooBig
		dropped := r >= bpf.ReasonDrop && r <= bpf.ReasonDropFragment
		name := bpf.ReasonName(r)
		if (forwarded || dropped) && seen[name] {
			t.Errorf("reason %d has no name of its own: %q", r, name)
		}
		seen[name] = true
	}
	spec, err := bpf.LoadFromPod()
	must(t, err)
	slots := spec.Maps["fl_metrics"].MaxEntries
	if want := uint32(bpf.HookCount) * uint32(bpf.ReasonSlots); slots != want || k.maps["fl_metrics"].MaxEntries() != want {
		t.Errorf("fl_metrics has %d slots, want %d", slots, want)
	}
}
