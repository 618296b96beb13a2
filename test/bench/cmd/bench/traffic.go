// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/fairlead-io/fairlead/test/bench/load"
	"github.com/fairlead-io/fairlead/test/bench/report"
	"github.com/fairlead-io/fairlead/test/bench/rounds"
	"github.com/fairlead-io/fairlead/test/bench/stats"
	"github.com/fairlead-io/fairlead/test/bench/target"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

// cpuCase is the case under which the CPU time of a stream is reported.
const cpuCase = "cpu_per_gbit"

// figures are the metrics of traffic, in the order of a report, with their units.
var figures = []struct {
	metric load.Metric
	unit   string
}{
	{load.P50, "us"}, {load.P99, "us"}, {load.Rate, "1/s"}, {load.Loss, "%"}, {load.Throughput, "Gbit/s"}, {load.CPU, "ms/Gbit"}, {load.ProgramTime, "ns"},
}

// trafficRows makes the rows of what was measured: all figures, then the ratios that
// targets are about.
func trafficRows(samples *rounds.Samples, steps []rounds.Step) []report.Row {
	return rowsOf(area, topo.Subjects, samples, steps)
}

func rowsOf(area string, subjects []string, samples *rounds.Samples, steps []rounds.Step) []report.Row {
	var rows, cpu []report.Row
	for _, step := range steps {
		for _, f := range figures {
			for _, subject := range subjects {
				values := samples.Of(rounds.Key{Step: step.Name, Subject: subject, Metric: f.metric})
				switch {
				case len(values) == 0:
				case f.metric != load.CPU:
					rows = append(rows, report.NewRow(area, step.Name, subject, string(f.metric), f.unit, stats.Median(values)))
				case step.Case == load.TCPStream:
					cpu = append(cpu, report.NewRow(area, cpuCase, subject, string(f.metric), f.unit, stats.Median(values)))
				}
			}
		}
	}
	rows = append(rows, cpu...)
	for _, t := range target.Table {
		if ratios := ratiosOf(samples, t); len(ratios) > 0 {
			rows = append(rows, report.NewRow(area, t.Case, t.Subject, report.RatioMetric(t.Metric, t.Reference), report.RatioUnit, stats.Median(ratios)))
		}
	}
	return rows
}

// ratiosOf returns the samples of a target that is a ratio.
func ratiosOf(samples *rounds.Samples, t target.Target) []float64 {
	if t.Reference == "" {
		return nil
	}
	return samples.Ratios(rounds.Key{Step: t.Case, Subject: t.Subject, Metric: load.Metric(t.Metric)}, t.Reference)
}
