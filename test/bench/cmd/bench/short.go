// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/fairlead-io/fairlead/test/bench/rounds"
	"github.com/fairlead-io/fairlead/test/bench/stats"
	"github.com/fairlead-io/fairlead/test/bench/target"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

// retries is how often more rounds are run for ratios that miss their gate: a machine that
// was busy for a while must not fail the tests, a regression stays.
const retries = 2

// runShort measures what has a gate, and fails when one is missed.
func runShort(ctx context.Context, cfg config, world *topo.World, dir string) (int, error) {
	gates, balanced := gatesOf(cfg, shortSteps), gatesOf(cfg, serviceSteps(shortSize, shortTime))
	if len(gates)+len(balanced) == 0 {
		return 0, fmt.Errorf("-run %s chooses no case with a gate", cfg.only)
	}
	code := 0
	if len(gates) > 0 {
		pairs, missing, err := build(ctx, world, subjectsOf(gates))
		if err != nil {
			return 0, err
		}
		if code, err = insist(ctx, cfg, pairs, shortSteps, gates, missing); err != nil {
			return 0, err
		}
	}
	if len(balanced) > 0 {
		more, err := shortServices(ctx, cfg, world, dir, balanced)
		if err != nil {
			return 0, err
		}
		code = max(code, more)
	}
	return code, nil
}

// gatesOf returns the targets of steps that have a gate and are chosen.
func gatesOf(cfg config, steps []rounds.Step) []target.Target {
	var gates []target.Target
	for _, t := range target.Table {
		step := slices.ContainsFunc(steps, func(s rounds.Step) bool { return s.Name == t.Case })
		if t.Gate != 0 && step && cfg.wanted(t.Case, t.Subject) {
			gates = append(gates, t)
		}
	}
	return gates
}

// insist measures the gates of some subjects and prints what became of them; ratios that
// miss get more rounds.
func insist(ctx context.Context, cfg config, pairs []*topo.Pair, steps []rounds.Step, gates []target.Target, missing map[string]error) (int, error) {
	samples := rounds.NewSamples()
	failing := gates
	for try := 0; try <= retries && len(failing) > 0; try++ {
		if try > 0 {
			say("%d ratios miss their gate; %d more rounds of those", len(failing), cfg.rounds)
		}
		plan := rounds.Plan{Pairs: pairs, Steps: steps, Say: say, Wanted: func(step, subject string) bool {
			return slices.ContainsFunc(failing, func(t target.Target) bool {
				return t.Case == step && (t.Subject == subject || t.Reference == subject)
			})
		}}
		if err := plan.Run(ctx, samples, cfg.rounds); err != nil {
			return 0, err
		}
		failing = slices.DeleteFunc(slices.Clone(failing), func(t target.Target) bool {
			ratios := ratiosOf(samples, t)
			return missing[t.Subject] != nil || missing[t.Reference] != nil || t.Passes(stats.Median(ratios).Value)
		})
	}
	return judge(samples, gates, missing), nil
}

func subjectsOf(gates []target.Target) []string {
	return slices.DeleteFunc(slices.Clone(topo.Subjects), func(s string) bool {
		return !slices.ContainsFunc(gates, func(t target.Target) bool { return t.Subject == s || t.Reference == s })
	})
}

// judge prints what became of each gate and returns the exit code.
func judge(samples *rounds.Samples, gates []target.Target, missing map[string]error) int {
	code := 0
	fmt.Printf("%-13s %-15s / %-14s %7s  %-15s  %-8s %s\n", "case", "subject", "reference", "ratio", "95 % interval", "gate", "")
	for _, t := range gates {
		s := stats.Median(ratiosOf(samples, t))
		verdict, figure := "passed", fmt.Sprintf("%7.2f  %5.2f to %5.2f ", s.Value, s.Low, s.High)
		if s.N == 0 {
			figure = fmt.Sprintf("%24s", "")
		}
		switch {
		case missing[t.Subject] != nil:
			verdict, code = fmt.Sprintf("FAILED: %v", missing[t.Subject]), exitGate
		case missing[t.Reference] != nil:
			verdict, code = fmt.Sprintf("FAILED: %v", missing[t.Reference]), exitGate
		case !t.Passes(s.Value):
			verdict, code = "FAILED", exitGate
		}
		fmt.Printf("%-13s %-15s / %-14s %s %-8s %s\n", t.Case, t.Subject, t.Reference, figure, t.Bound(t.Gate), verdict)
	}
	if code != 0 {
		fmt.Println("A gate failed. See test/bench/target for the table, docs/bench.md for what the figures are.")
	}
	return code
}
