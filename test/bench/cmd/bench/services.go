// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/fairlead-io/fairlead/test/bench/load"
	"github.com/fairlead-io/fairlead/test/bench/report"
	"github.com/fairlead-io/fairlead/test/bench/rounds"
	"github.com/fairlead-io/fairlead/test/bench/services"
	"github.com/fairlead-io/fairlead/test/bench/stats"
	"github.com/fairlead-io/fairlead/test/bench/target"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

// serviceArea is that of the rows about Services.
const serviceArea = "services"

// serviceSizes are the numbers of Services that are measured.
var serviceSizes = []int{10, 1000, 10000}

// How many Services the short form has, and how long a case of it runs.
const (
	shortSize = 1000
	shortTime = 300 * time.Millisecond
)

// serviceSteps are the cases of one number of Services.
func serviceSteps(size int, each time.Duration) []rounds.Step {
	return []rounds.Step{
		{Name: fmt.Sprintf("%s_%d", target.ServiceRR, size), Case: load.TCPRR, Duration: each},
		{Name: fmt.Sprintf("%s_%d", target.ServiceCRR, size), Case: load.TCPCRR, Duration: each},
	}
}

// serviceRows measures Services; -run knows it as "service_rr_10/" and so on.
func serviceRows(ctx context.Context, cfg config, world *topo.World, dir string) (rows []report.Row, missing map[string]error, err error) {
	sizes := slices.DeleteFunc(slices.Clone(serviceSizes), func(size int) bool {
		return !cfg.wanted(changeCase(size), "") && !slices.ContainsFunc(serviceSteps(size, 0), func(s rounds.Step) bool {
			return slices.ContainsFunc(services.Subjects, func(subject string) bool { return cfg.wanted(s.Name, subject) })
		})
	})
	if len(sizes) == 0 {
		return nil, nil, nil
	}
	b, missing, err := services.New(ctx, world, services.Settings{Dir: dir, Bin: cfg.kubeDir, Say: say})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	samples := rounds.NewSamples()
	var steps []rounds.Step
	for _, size := range sizes {
		synced, err := b.Grow(ctx, size)
		if err != nil {
			return nil, nil, fmt.Errorf("%d Services: %w", size, err)
		}
		for _, s := range synced {
			rows = append(rows, report.NewRow(serviceArea, fmt.Sprintf("%s_%d", target.ServiceSync, size), s.Subject, target.FirstSync, "s",
				stats.Median([]float64{s.Took.Seconds()})))
		}
		changed, err := changeRows(ctx, cfg, b, size)
		if err != nil {
			return nil, nil, err
		}
		rows = append(rows, changed...)
		own := serviceSteps(size, 600*time.Millisecond)
		plan := rounds.Plan{Pairs: b.Pairs(), Steps: own, Wanted: cfg.wanted, Say: say}
		if err := plan.Run(ctx, samples, cfg.rounds); err != nil {
			return nil, nil, err
		}
		steps = append(steps, own...)
	}
	return append(rowsOf(serviceArea, services.Subjects, samples, steps), rows...), missing, nil
}

func changeCase(size int) string { return fmt.Sprintf("%s_%d", target.ServiceChange, size) }

// changeRows measures how soon traffic follows a change; -run knows it as "service_change_10/".
func changeRows(ctx context.Context, cfg config, b *services.Bench, size int) ([]report.Row, error) {
	if !cfg.wanted(changeCase(size), "") {
		return nil, nil
	}
	n := 10
	if size > 1000 {
		n = 5 // kube-proxy takes many seconds for each
	}
	say("%d changes with %d Services", n, size)
	changed, err := b.Changes(ctx, n)
	if err != nil {
		return nil, err
	}
	var rows []report.Row
	for _, subject := range services.Subjects {
		var ms []float64
		for _, took := range changed[subject] {
			ms = append(ms, float64(took.Microseconds())/1e3)
		}
		if len(ms) > 0 {
			rows = append(rows, report.NewRow(serviceArea, changeCase(size), subject, string(load.P50), "ms", stats.Median(ms)),
				report.NewRow(serviceArea, changeCase(size), subject, string(load.P99), "ms", stats.Quantile(ms, 0.99)))
		}
	}
	return rows, nil
}

// shortServices measures the gates of Services.
func shortServices(ctx context.Context, cfg config, world *topo.World, dir string, gates []target.Target) (code int, err error) {
	b, missing, err := services.New(ctx, world, services.Settings{Dir: filepath.Join(dir, "services"), Bin: cfg.kubeDir, Say: say})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if _, err := b.Grow(ctx, shortSize); err != nil {
		return 0, err
	}
	return insist(ctx, cfg, b.Pairs(), serviceSteps(shortSize, shortTime), gates, missing)
}
