// SPDX-License-Identifier: Apache-2.0

// Command policy measures on the lab that is up how soon packets follow a change of policies or
// labels, and writes the rows of area policy into the benchmark's figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/fairlead-io/fairlead/test/bench/policy"
	"github.com/fairlead-io/fairlead/test/bench/report"
	"github.com/fairlead-io/fairlead/test/testkit"
)

func main() {
	cluster := flag.String("cluster", "alpha", "cluster of the lab to measure on")
	n := flag.Int("n", 100, "changes of each kind; 0 measures established flows alone")
	out := flag.String("o", "out/bench.json", "`file` of the figures; rows of other areas in it are kept")
	short := flag.Bool("short", false, "one policy and ten changes, and no file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := policy.Options{
		Cluster: *cluster, Changes: *n, Policies: []int{1, 500}, Established: []int{0, 10, 1000},
		Out: func(format string, args ...any) { fmt.Printf(format+"\n", args...) },
	}
	if *short {
		o.Changes, o.Policies, o.Established, *out = 10, []int{1}, []int{0, 10}, ""
	}
	if err := run(ctx, o, *out); err != nil {
		fmt.Fprintln(os.Stderr, "policy:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, o policy.Options, out string) error {
	if os.Geteuid() != 0 {
		return errors.New("the kernel's count of programs' time is root's: run it as root")
	}
	lab, err := testkit.OpenRunning(os.Stdout)
	if err != nil {
		return err
	}
	rows, err := policy.Measure(ctx, lab, o)
	if err != nil || out == "" {
		return err
	}
	return report.Update(out, policy.Area, rows)
}
