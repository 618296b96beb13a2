// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/fairlead-io/fairlead/bpf"
)

// TestProgramsAreAll: whoever adds an object adds its program to the list.
func TestProgramsAreAll(t *testing.T) {
	var want, got []string
	objects, err := filepath.Glob("*_bpfel.o")
	must(t, err)
	for _, object := range objects {
		spec, err := ebpf.LoadCollectionSpec(object)
		must(t, err)
		for name := range spec.Programs {
			want = append(want, name)
		}
	}
	for _, p := range bpf.Programs() {
		got = append(got, p.Name)
		spec, err := p.Load()
		must(t, err)
		if spec.Programs[p.Name] == nil {
			t.Errorf("the object of program %s does not hold it", p.Name)
		}
	}
	for _, p := range bpf.SocketPrograms() {
		got = append(got, p.Name)
	}
	got = append(got, bpf.EndingPrograms()...)
	slices.Sort(want)
	slices.Sort(got)
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("Programs has %v, the objects hold %v", got, want)
	}
}
