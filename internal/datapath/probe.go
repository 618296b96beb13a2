// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/link"
)

// Probe says whether this machine can run the datapath. The error, which wraps
// ErrNotSupported, names each thing that is missing, what was found instead and what is
// needed. It changes nothing. A BPF file system need not be mounted, Open mounts one.
func Probe(opts Options) error {
	opts = opts.withDefaults()
	return machine{
		kernel:      kernelRelease,
		fileSystems: func() ([]byte, error) { return os.ReadFile("/proc/filesystems") },
		features:    kernelFeatures(),
		bpffs:       opts.BPFFS,
	}.probe()
}

// machine is what Probe asks; tests put others in its place.
type machine struct {
	kernel      func() string
	fileSystems func() ([]byte, error)
	features    []feature
	bpffs       string
}

// feature is something that the kernel has or has not.
type feature struct {
	name   string
	needed string
	have   func() error // nil, or wraps ebpf.ErrNotSupported, or another error
}

func kernelFeatures() []feature {
	helper := func(fn asm.BuiltinFunc) func() error {
		return func() error { return features.HaveProgramHelper(ebpf.SchedCLS, fn) }
	}
	return []feature{
		{"eBPF programs at a device's traffic (SchedCLS)", "CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_BPF", func() error { return features.HaveProgramType(ebpf.SchedCLS) }},
		{"attachments by tcx or clsact", "Linux 6.6 or newer, or an older one with CONFIG_NET_SCH_INGRESS", link.HaveWay},
		{"helper bpf_redirect_peer", "Linux 5.10 or newer", helper(asm.FnRedirectPeer)},
		{"helper bpf_skb_set_tunnel_key", "CONFIG_VXLAN and CONFIG_NET_CLS_BPF", helper(asm.FnSkbSetTunnelKey)},
		{"map of type LPM trie", "CONFIG_BPF_SYSCALL", func() error { return features.HaveMapType(ebpf.LPMTrie) }},
		{"map of type LRU hash", "CONFIG_BPF_SYSCALL", func() error { return features.HaveMapType(ebpf.LRUHash) }},
	}
}

func (m machine) probe() error {
	var errs []error
	if err := rlimit.RemoveMemlock(); err != nil {
		errs = append(errs, &UnsupportedError{"eBPF", err.Error(), "the right to lift the limit of locked memory: run privileged"})
	}
	for _, f := range m.features {
		switch err := f.have(); {
		case err == nil:
		case errors.Is(err, ebpf.ErrNotSupported):
			errs = append(errs, &UnsupportedError{f.name, "Linux " + m.kernel() + " without it", f.needed})
		case errors.Is(err, unix.EPERM):
			errs = append(errs, &UnsupportedError{f.name, "permission denied", "CAP_BPF and CAP_NET_ADMIN: run privileged"})
		default:
			errs = append(errs, fmt.Errorf("probe: %s: %w", f.name, err))
		}
	}
	known, err := m.fileSystems()
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("probe: %w", err))...)
	}
	if !hasFileSystem(known, "bpf") {
		errs = append(errs, &UnsupportedError{"BPF file system", "a kernel without it", "CONFIG_BPF_SYSCALL, and `mount -t bpf bpf " + m.bpffs + "`"})
	}
	if !hasFileSystem(known, "cgroup2") {
		errs = append(errs, &UnsupportedError{"cgroup v2", "a kernel without it", "CONFIG_CGROUPS, and `mount -t cgroup2 none /sys/fs/cgroup` (or /sys/fs/cgroup/unified beside cgroup v1)"})
	}
	return errors.Join(errs...)
}

// hasFileSystem looks for a type in the form of /proc/filesystems.
func hasFileSystem(known []byte, name string) bool {
	lines := bufio.NewScanner(bytes.NewReader(known))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 0 && fields[len(fields)-1] == name {
			return true
		}
	}
	return false
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "of unknown release"
	}
	return unix.ByteSliceToString(u.Release[:])
}
