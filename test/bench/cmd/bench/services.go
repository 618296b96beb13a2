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
	sizes := slices.DeleteFunc(slices.Clone(serviceSizes), func(size int) bool { return !wantsSize(cfg, size, services.Subjects...) })
	if len(sizes) == 0 {
		return nil, nil, nil
	}
	b, missing, err := services.New(ctx, world, services.Settings{Dir: dir, Bin: cfg.kubeDir, Fairlead: cfg.cniDir, Say: say})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	samples := rounds.NewSamples()
	var steps []rounds.Step
	for _, size := range sizes {
		more, err := sizeRows(ctx, cfg, b, size, missing)
		if err != nil {
			return nil, nil, fmt.Errorf("%d Services: %w", size, err)
		}
		rows = append(rows, more...)
		own := serviceSteps(size, 600*time.Millisecond)
		plan := rounds.Plan{Pairs: b.Pairs(), Steps: own, Wanted: cfg.wanted, Say: say}
		if err := plan.Run(ctx, samples, cfg.rounds); err != nil {
			return nil, nil, err
		}
		steps = append(steps, own...)
	}
	return append(rowsOf(serviceArea, services.Subjects, samples, steps), rows...), missing, nil
}

// wantsSize says whether anything is chosen of a number of Services, on one of some subjects.
func wantsSize(cfg config, size int, subjects ...string) bool {
	var cases []string
	for _, s := range serviceSteps(size, 0) {
		cases = append(cases, s.Name)
	}
	for _, name := range agentCases {
		cases = append(cases, sizeCase(name, size))
	}
	return slices.ContainsFunc(cases, func(name string) bool {
		return slices.ContainsFunc(subjects, func(subject string) bool { return cfg.wanted(name, subject) })
	})
}

// sizeRows brings the subjects to a number of Services and measures, one after the other,
// how they follow. kube-proxy runs afterwards.
func sizeRows(ctx context.Context, cfg config, b *services.Bench, size int, missing map[string]error) ([]report.Row, error) {
	if err := b.Grow(ctx, size); err != nil {
		return nil, err
	}
	rows, err := followedRows(ctx, cfg, b, size, missing)
	if err != nil || !wantsSize(cfg, size, target.NFTables, target.IPTables) {
		return rows, err
	}
	synced, err := b.StartProxies(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range synced {
		rows = append(rows, sizeRow(target.ServiceSync, size, s.Subject, target.FirstSync, "s", stats.Median([]float64{s.Took.Seconds()})))
	}
	changed, err := changeRows(ctx, cfg, b, size)
	return append(rows, changed...), err
}

func sizeCase(name string, size int) string { return fmt.Sprintf("%s_%d", name, size) }

func sizeRow(name string, size int, subject, metric, unit string, s stats.Summary) report.Row {
	return report.NewRow(serviceArea, sizeCase(name, size), subject, metric, unit, s)
}

// agentCases are measured with a real controller and agent of Fairlead's, all or none.
var agentCases = []string{target.ServiceChange, target.ServiceSync, target.ServiceStorm, target.ServiceKill, target.ServiceMemory}

// followedRows measures Fairlead's controller and agent; -run knows it by the names of its
// cases, such as "service_storm_10/fairlead".
func followedRows(ctx context.Context, cfg config, b *services.Bench, size int, missing map[string]error) ([]report.Row, error) {
	const changes = 60
	wanted := slices.ContainsFunc(agentCases, func(name string) bool { return cfg.wanted(sizeCase(name, size), target.Fairlead) })
	if !wanted || missing[target.FairleadAgent] != nil {
		return nil, nil
	}
	if !b.CanFollow() {
		missing[target.FairleadAgent] = errors.New("the folders of Fairlead's and of Kubernetes' programs are not both named: use -cni and -kubernetes")
		return nil, nil
	}
	r, err := b.Followed(ctx, changes)
	if err != nil {
		return nil, fmt.Errorf("the controller and the agent: %w", err)
	}
	one := func(name, metric, unit string, v float64) report.Row {
		return sizeRow(name, size, target.Fairlead, metric, unit, stats.Median([]float64{v}))
	}
	rows := latencyRows(target.ServiceChange, size, target.Fairlead, r.Changes)
	rows = append(rows,
		one(target.ServiceSync, target.FirstSync, "s", r.Synced.Seconds()),
		one(target.ServiceSync, target.Updating, "s", r.Updating.Seconds()),
		one(target.ServiceMemory, target.RSS, "MiB", r.ResidentMiB),
		one(target.ServiceStorm, string(load.Rate), "1/s", r.Storm.Written),
		one(target.ServiceStorm, target.LagAfter, "ms", milliseconds(r.Storm.After)))
	rows = append(rows, latencyRows(target.ServiceStorm, size, target.Fairlead, r.Storm.During)...)
	return append(rows,
		one(target.ServiceKill, target.Connections, "1", float64(r.Killed.Connections)),
		one(target.ServiceKill, target.Failed, "1", float64(r.Killed.Failed))), nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

func latencyRows(name string, size int, subject string, took []time.Duration) []report.Row {
	if len(took) == 0 {
		return nil
	}
	var ms []float64
	for _, d := range took {
		ms = append(ms, milliseconds(d))
	}
	return []report.Row{
		sizeRow(name, size, subject, string(load.P50), "ms", stats.Median(ms)),
		sizeRow(name, size, subject, string(load.P99), "ms", stats.Quantile(ms, 0.99)),
	}
}

// changeRows measures how soon kube-proxy follows a change; -run knows it as
// "service_change_10/kube-proxy-nftables" and so on.
func changeRows(ctx context.Context, cfg config, b *services.Bench, size int) ([]report.Row, error) {
	name := sizeCase(target.ServiceChange, size)
	if !cfg.wanted(name, target.NFTables) && !cfg.wanted(name, target.IPTables) {
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
		rows = append(rows, latencyRows(target.ServiceChange, size, subject, changed[subject])...)
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
	if err := b.Grow(ctx, shortSize); err != nil {
		return 0, err
	}
	if _, err := b.StartProxies(ctx); err != nil {
		return 0, err
	}
	return insist(ctx, cfg, b.Pairs(), serviceSteps(shortSize, shortTime), gates, missing)
}
