// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// TestARehearsalChangesNothing: it runs while another agent's datapath is in force, with the
// same BPF file system.
func TestARehearsalChangesNothing(t *testing.T) {
	for name, change := range map[string]func(*datapath.Options){
		"as it is":                   func(*datapath.Options) {},
		"with another kind of flows": func(o *datapath.Options) { o.FlowEntries = 4 * datapath.DefaultFlowEntries },
		"with Services":              func(o *datapath.Options) { o.Services, o.ServiceForwarding = true, datapath.ForwardDSR },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1, false)
			one := w.nodes[0]
			one.addPod()
			before, attached := one.snapshot(t), one.attachments(t)
			opts := one.opts
			change(&opts)
			start := time.Now()
			must(t, one.Do(func() error { return datapath.Rehearse(opts) }))
			t.Logf("rehearsed in %v", time.Since(start))
			if diff := cmp.Diff(before, one.snapshot(t)); diff != "" {
				t.Errorf("the rehearsal left or took something (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(attached, one.attachments(t)); diff != "" {
				t.Errorf("programs were attached anew (-before +after):\n%s", diff)
			}
		})
	}
}

func TestARehearsalFindsWhatIsMissing(t *testing.T) {
	w := newWorld(t, 1, false)
	opts := w.nodes[0].opts
	t.Run("a wrong option", func(t *testing.T) {
		wrong := opts
		wrong.FlowEntries = 3
		says(t, datapath.Rehearse(wrong), "flow entries 3")
	})
	t.Run("no BPF file system", func(t *testing.T) {
		without := opts
		without.BPFFS = t.TempDir()
		says(t, datapath.Rehearse(without), "none is mounted at", "mount -t bpf bpf")
	})
	t.Run("no rights", func(t *testing.T) {
		failed := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlock: the thread ends with its rights
			failed <- errors.Join(dropRights(), datapath.Rehearse(opts))
		}()
		says(t, <-failed, "permission denied", "CAP_BPF")
	})
}

// says expects an error with all of the parts.
func says(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("got %v, want an error with %q", err, p)
		}
	}
}

// dropRights takes from this thread what it takes to load programs.
func dropRights() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return err
	}
	for _, c := range []uint{unix.CAP_BPF, unix.CAP_SYS_ADMIN, unix.CAP_PERFMON} {
		have[c/32].Effective &^= 1 << (c % 32)
	}
	return unix.Capset(&header, &have[0])
}
