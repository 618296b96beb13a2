// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestProbeHere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("asks the kernel for features: run it as root (make test-bpf)")
	}
	if err := Probe(Options{}); err != nil {
		t.Errorf("this machine runs the other tests, but: %v", err)
	}
}

func TestProbe(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("lifts the limit of locked memory: run it as root (make test-bpf)")
	}
	const all = "nodev\tsysfs\nnodev\tcgroup2\nnodev\tbpf\n\text4\n"
	for _, c := range []struct {
		name        string
		fileSystems string
		feature     error
		supported   bool // the error, if any, does not wrap ErrNotSupported
		want        []string
	}{
		{"all there", all, nil, true, nil},
		{"kernel too old", all, fmt.Errorf("tcx: %w", ebpf.ErrNotSupported), false, []string{"tcx attachments", "Linux 5.4.0", "Linux 6.6 or newer"}},
		{"not privileged", all, unix.EPERM, false, []string{"permission denied", "CAP_BPF"}},
		{"cannot say", all, errors.New("the kernel is busy"), true, []string{"tcx attachments", "the kernel is busy"}},
		{"no BPF file system", "nodev\tcgroup2\n", nil, false, []string{"BPF file system", "mount -t bpf bpf /bpf"}},
		{"no cgroup v2", "nodev\tcgroup\nnodev\tbpf\n", nil, false, []string{"cgroup v2", "mount -t cgroup2"}},
		{"nothing", "", ebpf.ErrNotSupported, false, []string{"tcx", "BPF file system", "cgroup v2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := machine{
				kernel:      func() string { return "5.4.0" },
				fileSystems: func() ([]byte, error) { return []byte(c.fileSystems), nil },
				features:    []feature{{"tcx attachments", "Linux 6.6 or newer", func() error { return c.feature }}},
				bpffs:       "/bpf",
			}.probe()
			wantError(t, err, c.want...)
			if errors.Is(err, ErrNotSupported) == c.supported {
				t.Errorf("error %v wraps ErrNotSupported: %v", err, !c.supported)
			}
		})
	}
}
