// SPDX-License-Identifier: Apache-2.0

// Package programs measures Fairlead's eBPF programs one by one: what the verifier went
// through, and how long a run takes.
package programs

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/fairlead-io/fairlead/bpf"
)

// Run is a program in a situation, and a way to run it there.
type Run struct {
	// Subject names both, as it stands in the report, for example "from_pod established".
	Subject string
	// Times runs the program n times in a row and returns the mean duration of one.
	Times func(n int) (time.Duration, error)
}

// repetitions is how many runs make a sample.
const repetitions = 20000

// Measure takes n samples of a run, in ns. What the first one finds cold is not counted.
func Measure(r Run, n int) ([]float64, error) {
	var out []float64
	for i := range n + 1 {
		mean, err := r.Times(repetitions)
		if err != nil {
			return nil, fmt.Errorf("program run %s: %w", r.Subject, err)
		}
		if i > 0 {
			out = append(out, float64(mean.Nanoseconds()))
		}
	}
	return out, nil
}

// Loaded are all programs in the kernel, sharing maps as on a node.
type Loaded struct {
	collections []*ebpf.Collection
	maps        map[string]*ebpf.Map
	programs    map[string]*ebpf.Program
	names       []string // in the order of the hooks
}

// Load loads the programs of every hook.
func Load() (*Loaded, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	l := &Loaded{maps: map[string]*ebpf.Map{}, programs: map[string]*ebpf.Program{}}
	for _, p := range bpf.Programs() {
		spec, err := p.Load()
		if err == nil {
			err = l.add(p.Name, spec)
		}
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("program %s: %w", p.Name, err)
		}
	}
	if err := l.fill(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Loaded) add(name string, spec *ebpf.CollectionSpec) error {
	shared := map[string]*ebpf.Map{}
	for name, m := range spec.Maps {
		m.Pinning = ebpf.PinNone
		if one, ok := l.maps[name]; ok {
			shared[name] = one
		}
	}
	if err := set(spec); err != nil {
		return err
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared})
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	l.collections = append(l.collections, c)
	for name, m := range c.Maps {
		if _, ok := l.maps[name]; !ok && name[0] != '.' { // each has its own settings
			l.maps[name] = m
		}
	}
	l.programs[name] = c.Programs[name]
	l.names = append(l.names, name)
	return nil
}

// Close unloads them.
func (l *Loaded) Close() {
	for _, c := range l.collections {
		c.Close()
	}
}

// Verified returns how many instructions the verifier went through, by program.
func (l *Loaded) Verified() (map[string]float64, error) {
	out := map[string]float64{}
	for name, p := range l.programs {
		info, err := p.Info()
		if err != nil {
			return nil, fmt.Errorf("program %s: %w", name, err)
		}
		n, ok := info.VerifiedInstructions()
		if !ok {
			return nil, fmt.Errorf("program %s: the kernel does not say how many instructions it verified: it needs Linux 5.16", name)
		}
		out[name] = float64(n)
	}
	return out, nil
}

// Names are the programs' names.
func (l *Loaded) Names() []string { return l.names }

// Runs are the ways in which programs are measured. A packet of an established connection
// is one that the program has met in both directions; the run that is not counted is the
// first. What goes into a tunnel cannot be measured so, as each run would put the packet
// into another one: see the live figures.
func (l *Loaded) Runs() ([]Run, error) {
	var runs []Run
	for _, w := range ways {
		packet, err := packetOf(w.src, w.dst, w.udp)
		if err != nil {
			return nil, err
		}
		runs = append(runs, Run{Subject: w.program + ", " + w.name, Times: testRun(l.programs[w.program], packet)})
	}
	return runs, nil
}

// testRun has the kernel run a program on a packet, as if met at lo.
func testRun(p *ebpf.Program, packet []byte) func(int) (time.Duration, error) {
	return func(n int) (time.Duration, error) {
		_, mean, err := p.Benchmark(packet, n, nil)
		if errors.Is(err, ebpf.ErrNotSupported) {
			return 0, fmt.Errorf("%w: it needs BPF_PROG_TEST_RUN", err)
		}
		return mean, err
	}
}
