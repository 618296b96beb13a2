// SPDX-License-Identifier: Apache-2.0

// Command demo shows Fairlead on the lab: it starts the clusters, runs the
// operator, applies the sample NetworkStack, waits, and prints what came of it.
// It exits 0 only when every path of the connectivity matrix works.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/matrix"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// patience bounds the demo as a whole.
const patience = 10 * time.Minute

func main() {
	deploy := flag.Bool("deploy", false, "only load the images on a running lab, and restart Fairlead there")
	routing := flag.String("routing", "", "only change the stack of a running lab to this routing (Tunnel, Native)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	run := demo
	switch {
	case *deploy:
		run = redeploy
	case *routing != "":
		run = func(ctx context.Context) error { return reroute(ctx, fairlead.RoutingMode(*routing)) }
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		cancel()
		stop()
		os.Exit(1)
	}
}

// say prints a line with the time since the demo began.
func say(started time.Time) func(string) {
	return func(line string) { fmt.Printf("%6.1fs  %s\n", time.Since(started).Seconds(), line) }
}

func demo(ctx context.Context) error {
	progress := say(time.Now())
	lab, err := testkit.Open(os.Stdout)
	if err != nil {
		return err
	}
	if err := lab.Run(ctx, "up"); err != nil {
		return err
	}
	progress("loading Fairlead's images on the nodes")
	if err := lab.LoadImages(ctx); err != nil {
		return err
	}
	progress("starting the operator on the hub")
	if err := lab.InstallOperator(ctx); err != nil {
		return err
	}
	hub, err := lab.Client(testkit.Hub)
	if err != nil {
		return err
	}
	progress("applying config/samples/networkstack.yaml")
	if err := lab.ApplyFile(ctx, hub, lab.Path("config", "samples", "networkstack.yaml")); err != nil {
		return err
	}
	if lab.Plan().CAPI {
		if err := births(ctx, lab, hub, progress); err != nil {
			return err
		}
	}
	if err := testkit.WaitReady(ctx, hub, testkit.StackName, progress); err != nil {
		return err
	}
	progress("the NetworkStack is Ready; starting the probes")
	cells, err := matrices(ctx, lab, progress)
	if err != nil {
		return err
	}
	fmt.Println()
	if err := lab.PrintNodes(ctx, os.Stdout); err != nil {
		return err
	}
	fmt.Println()
	matrix.Print(os.Stdout, lab.Clusters(), cells)
	failed, all := 0, 0
	for _, c := range cells {
		failed += len(matrix.Failed(c))
		all += len(c)
	}
	fmt.Println()
	if failed > 0 {
		return fmt.Errorf("%d of %d paths failed", failed, all)
	}
	if all == 0 {
		return errors.New("no path was tried")
	}
	progress(fmt.Sprintf("all %d paths work; the lab stays up until `make lab-down`", all))
	return nil
}

// births has Cluster API make the clusters out of topology Clusters, which name no addresses.
func births(ctx context.Context, lab *testkit.Lab, hub client.Client, progress func(string)) error {
	progress("applying config/samples/fleetpool.yaml, naming the operator in the ClusterClass")
	if err := lab.ApplyFile(ctx, hub, lab.Path("config", "samples", "fleetpool.yaml")); err != nil {
		return err
	}
	if err := testkit.NameInClass(ctx, hub); err != nil {
		return err
	}
	progress("applying topology Clusters alpha and bravo")
	g, ctx := errgroup.WithContext(ctx)
	for _, name := range []string{"alpha", "bravo"} {
		g.Go(func() error { return testkit.Bear(ctx, hub, name, lab.Plan().Kubernetes, 2, progress) })
	}
	return g.Wait()
}

func matrices(ctx context.Context, lab *testkit.Lab, progress func(string)) (map[string][]matrix.Cell, error) {
	clusters := lab.Clusters()
	results := make([][]matrix.Cell, len(clusters))
	g, ctx := errgroup.WithContext(ctx)
	for i, cluster := range clusters {
		g.Go(func() (err error) {
			results[i], err = lab.Matrix(ctx, cluster, progress)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	by := map[string][]matrix.Cell{}
	for i, cluster := range clusters {
		by[cluster] = results[i]
	}
	return by, nil
}

func reroute(ctx context.Context, mode fairlead.RoutingMode) error {
	lab, err := testkit.OpenRunning(os.Stdout)
	if err != nil {
		return err
	}
	if err := lab.SetRouting(ctx, mode); err != nil {
		return err
	}
	hub, err := lab.Client(testkit.Hub)
	if err != nil {
		return err
	}
	return testkit.WaitReady(ctx, hub, testkit.StackName, say(time.Now()))
}

func redeploy(ctx context.Context) error {
	lab, err := testkit.OpenRunning(os.Stdout)
	if err != nil {
		return err
	}
	if err := lab.LoadImages(ctx); err != nil {
		return err
	}
	if err := lab.InstallOperator(ctx); err != nil {
		return err
	}
	return lab.Restart(ctx)
}
