// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"

	"github.com/fairlead-io/fairlead/test/bench/cniadd"
	"github.com/fairlead-io/fairlead/test/bench/load"
	"github.com/fairlead-io/fairlead/test/bench/programs"
	"github.com/fairlead-io/fairlead/test/bench/report"
	"github.com/fairlead-io/fairlead/test/bench/stats"
	"github.com/fairlead-io/fairlead/test/bench/target"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

// programRows measures the eBPF programs by themselves; -run knows it as "program_run/".
func programRows(cfg config) ([]report.Row, error) {
	if !cfg.wanted(target.ProgramRun, "") {
		return nil, nil
	}
	say("%s and %s", target.ProgramRun, target.VerifiedInsns)
	loaded, err := programs.Load()
	if err != nil {
		return nil, err
	}
	defer loaded.Close()
	verified, err := loaded.Verified()
	if err != nil {
		return nil, err
	}
	var rows []report.Row
	for _, name := range loaded.Names() {
		s := stats.Median([]float64{verified[name]})
		rows = append(rows, report.NewRow(area, target.VerifiedInsns, name, target.Instructions, "1", s))
	}
	runs, err := loaded.Runs()
	if err != nil {
		return nil, err
	}
	for _, r := range runs {
		samples, err := programs.Measure(r, cfg.rounds)
		if err != nil {
			return nil, err
		}
		rows = append(rows, report.NewRow(area, target.ProgramRun, r.Subject, target.RunTime, "ns", stats.Median(samples)))
	}
	return rows, nil
}

// cniRows measures the plugin and the agent; -run knows it as "cni_add/".
func cniRows(ctx context.Context, cfg config, world *topo.World, dir string) ([]report.Row, error) {
	if !cfg.wanted(target.CNIAdd, "") {
		return nil, nil
	}
	got, err := cniadd.Measure(ctx, world, filepath.Join(dir, "cni"), cfg.cniDir, say)
	if err != nil {
		return nil, err
	}
	var rows []report.Row
	for _, q := range []struct {
		metric load.Metric
		at     float64
	}{{load.P50, 0.5}, {load.P99, 0.99}} {
		rows = append(rows,
			report.NewRow(area, target.CNIAdd, "bridge + host-local", string(q.metric), "ms", stats.Quantile(got.Bridge, q.at)),
			report.NewRow(area, target.CNIAdd, target.Fairlead, string(q.metric), "ms", stats.Quantile(got.Fairlead, q.at)))
	}
	return append(rows, report.NewRow(area, target.AgentMemory, target.Fairlead, target.RSS, "MiB", stats.Median([]float64{got.AgentMiB}))), nil
}
