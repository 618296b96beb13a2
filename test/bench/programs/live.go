// SPDX-License-Identifier: Apache-2.0

package programs

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/bpf"
)

// Live does something that sends packets, and returns the time that all of Fairlead's
// programs took for one of them on its way from pod to pod, in ns: the sum of all, by the
// packets that came from pods. The kernel's own accounting (BPF_ENABLE_STATS) is part of
// it, some tens of ns for each program.
func Live(do func() error) (float64, error) {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return 0, fmt.Errorf("count the time of programs: %w", err)
	}
	defer func(c io.Closer) { err = errors.Join(err, c.Close()) }(stats)
	before, err := ran()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := ran()
	if err != nil {
		return 0, err
	}
	packets := after.packets - before.packets
	if packets <= 0 {
		return 0, errors.New("no packet of a pod met a program")
	}
	return float64(after.time-before.time) / float64(packets), nil
}

// work is what all programs of ours have done since they were loaded.
type work struct {
	time    int64 // ns
	packets int64 // of from_pod
}

func ran() (work, error) {
	names := map[string]bpf.Hook{}
	for _, p := range bpf.Programs() {
		names[p.Name] = p.Hook
	}
	var sum work
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return sum, nil
		}
		if err != nil {
			return work{}, fmt.Errorf("list programs: %w", err)
		}
		id = next
		if err := sum.add(id, names); err != nil {
			return work{}, err
		}
	}
}

func (w *work) add(id ebpf.ProgramID, names map[string]bpf.Hook) error {
	p, err := ebpf.NewProgramFromID(id)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it ended at this moment
	}
	if err != nil {
		return fmt.Errorf("program %d: %w", id, err)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return fmt.Errorf("program %d: %w", id, err)
	}
	hook, ours := names[info.Name]
	if !ours {
		return nil
	}
	s, err := p.Stats()
	if err != nil {
		return fmt.Errorf("program %s: %w", info.Name, err)
	}
	w.time += s.Runtime.Nanoseconds()
	if hook == bpf.HookFromPod {
		w.packets += int64(s.RunCount)
	}
	return nil
}
