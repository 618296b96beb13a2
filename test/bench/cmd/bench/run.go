// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/test/bench/load"
	"github.com/fairlead-io/fairlead/test/bench/report"
	"github.com/fairlead-io/fairlead/test/bench/rounds"
	"github.com/fairlead-io/fairlead/test/bench/target"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

// area is whose rows this program writes.
const area = "datapath"

var longSteps = []rounds.Step{
	{Name: string(load.TCPRR), Case: load.TCPRR, Duration: 800 * time.Millisecond},
	{Name: string(load.UDPRR), Case: load.UDPRR, Duration: 600 * time.Millisecond},
	{Name: string(load.TCPCRR), Case: load.TCPCRR, Duration: 800 * time.Millisecond},
	{Name: string(load.TCPStream), Case: load.TCPStream, Duration: time.Second},
	{Name: string(load.TCPEight), Case: load.TCPEight, Duration: time.Second},
	{Name: string(load.UDPPPS), Case: load.UDPPPS, Duration: 600 * time.Millisecond},
	{Name: target.ProgramLive, Case: load.TCPRR, Live: true, Duration: 400 * time.Millisecond},
	{Name: string(load.TCPRR) + "_ipv6", Case: load.TCPRR, IPv6: true, Duration: 500 * time.Millisecond},
}

var shortSteps = []rounds.Step{
	{Name: string(load.TCPRR), Case: load.TCPRR, Duration: 300 * time.Millisecond},
	{Name: string(load.TCPCRR), Case: load.TCPCRR, Duration: 300 * time.Millisecond},
	{Name: string(load.TCPStream), Case: load.TCPStream, Duration: 300 * time.Millisecond},
}

// say tells the person at the terminal what is done.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

func run(ctx context.Context, cfg config, dir string) (code int, err error) {
	if cfg.docsOnly {
		return 0, writeDocs(cfg)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 0, fmt.Errorf("make mounts private: %w", err)
	}
	world, err := topo.New(topo.Settings{Dir: dir, Flannel: cfg.flannel})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, world.Close()) }()
	if cfg.short {
		return runShort(ctx, cfg, world, dir)
	}
	return runLong(ctx, cfg, world, dir)
}

func runLong(ctx context.Context, cfg config, world *topo.World, dir string) (int, error) {
	rows, missing, err := measureTraffic(ctx, cfg, world)
	if err != nil {
		return 0, err
	}
	more, err := programRows(cfg)
	if err != nil {
		return 0, err
	}
	rows = append(rows, more...)
	if cfg.wanted(target.CNIAdd, "") && cfg.cniDir == "" {
		missing[target.CNIAdd] = errors.New("the folder of plugins is not named: use -cni")
	} else {
		if more, err = cniRows(ctx, cfg, world, dir); err != nil {
			return 0, err
		}
		rows = append(rows, more...)
	}
	balanced, without, err := serviceRows(ctx, cfg, world, dir)
	if err != nil {
		return 0, err
	}
	maps.Copy(missing, without)
	if len(rows)+len(balanced) == 0 {
		return 0, fmt.Errorf("-run %s chooses nothing", cfg.only)
	}
	for _, of := range []struct {
		area string
		rows []report.Row
	}{{area, rows}, {serviceArea, balanced}} {
		if len(of.rows) == 0 {
			continue
		}
		if err := report.Update(cfg.out, of.area, of.rows); err != nil {
			return 0, err
		}
	}
	say("%d figures written to %s", len(rows)+len(balanced), cfg.out)
	if err := writeDocs(cfg); err != nil {
		return 0, err
	}
	for subject, why := range missing {
		fmt.Fprintf(os.Stderr, "bench: %s is missing from the report: %v\n", subject, why)
	}
	if len(missing) > 0 {
		return exitMissing, nil
	}
	return 0, nil
}

func measureTraffic(ctx context.Context, cfg config, world *topo.World) ([]report.Row, map[string]error, error) {
	subjects := cfg.subjects(longSteps)
	if len(subjects) == 0 {
		return nil, map[string]error{}, nil
	}
	pairs, missing, err := build(ctx, world, subjects)
	if err != nil {
		return nil, nil, err
	}
	samples := rounds.NewSamples()
	plan := rounds.Plan{Pairs: pairs, Steps: longSteps, Wanted: cfg.wanted, Say: say}
	if err := plan.Run(ctx, samples, cfg.rounds); err != nil {
		return nil, nil, err
	}
	return trafficRows(samples, longSteps), missing, nil
}

// wanted says whether -run chooses a step on a subject.
func (c config) wanted(step, subject string) bool {
	return c.only.MatchString(step + "/" + subject)
}

// subjects are those of which any step is chosen.
func (c config) subjects(steps []rounds.Step) []string {
	var out []string
	for _, s := range topo.Subjects {
		if slices.ContainsFunc(steps, func(step rounds.Step) bool { return c.wanted(step.Name, s) }) {
			out = append(out, s)
		}
	}
	return out
}

// build makes the subjects; those that cannot be made are returned with the reason.
func build(ctx context.Context, world *topo.World, subjects []string) ([]*topo.Pair, map[string]error, error) {
	var pairs []*topo.Pair
	missing := map[string]error{}
	for _, s := range subjects {
		say("build %s", s)
		pair, err := world.Build(ctx, s)
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil {
			say("cannot: %v", err)
			missing[s] = err
			continue
		}
		pairs = append(pairs, pair)
	}
	if len(pairs) == 0 {
		return nil, nil, fmt.Errorf("no subject could be built of %s", strings.Join(subjects, ", "))
	}
	return pairs, missing, nil
}

func writeDocs(cfg config) error {
	if cfg.docs == "" {
		return nil
	}
	rows, err := report.Read(cfg.out)
	if err != nil {
		return err
	}
	machine, err := report.ThisMachine(load.Congestion)
	if err != nil {
		return err
	}
	return report.WriteDocs(cfg.docs, []string{area, serviceArea}, rows, machine)
}
