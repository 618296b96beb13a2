// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-io/fairlead/test/lab"
)

// Options say what runs where.
type Options struct {
	Lab      *lab.Lab      // Its builder makes the specs; its clusters are tested.
	Clusters []string      // Names of the lab's clusters.
	Focus    string        // Words of the specs to run; empty for all of Specs.
	Timeout  time.Duration // For each cluster.
	Out      io.Writer     // For the summary.
}

// Run tests the clusters and reports on all of them. The error says what failed.
func Run(ctx context.Context, o Options) error {
	binary, err := testBinary(ctx, o.Lab.Builder)
	if err != nil {
		return err
	}
	archive, err := testImage(ctx, o.Lab.Builder)
	if err != nil {
		return err
	}
	err = o.Lab.Progress.Step("load the specs' image on every node", func() error { return o.Lab.Load(ctx, archive) })
	if err != nil {
		return err
	}
	// Specs mostly wait: the clusters are tested side by side, and reported one by one.
	errs, reports := make([]error, len(o.Clusters)), make([]bytes.Buffer, len(o.Clusters))
	var wg sync.WaitGroup
	for i, cluster := range o.Clusters {
		wg.Go(func() { errs[i] = runOn(ctx, o, &reports[i], binary, cluster) })
	}
	wg.Wait()
	for i, cluster := range o.Clusters {
		if _, err := fmt.Fprintf(o.Out, "%s\n%s", cluster, reports[i].String()); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func runOn(ctx context.Context, o Options, out io.Writer, binary, cluster string) error {
	c, err := o.Lab.Plan.Cluster(cluster)
	if err != nil {
		return err
	}
	dir := filepath.Join(o.Lab.Plan.Dir, "conformance", cluster)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "e2e.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	expressions, report := selectSpecs(o.Focus), filepath.Join(dir, "report.json")
	cmd := exec.CommandContext(ctx, binary, arguments(o.Lab.Plan.Kubeconfig(cluster), report, expressions, len(c.Nodes), o.Timeout)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	// A context that ends lets the specs clean up first.
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(os.Interrupt) }, 30*time.Second
	ended := o.Lab.Progress.Step(fmt.Sprintf("%s: %d specs (log: %s)", cluster, len(expressions), log.Name()), cmd.Run)
	raw, err := os.ReadFile(report)
	if err != nil {
		return fmt.Errorf("%s: the specs did not run to their end (%w): see %s", cluster, errors.Join(ended, err), log.Name())
	}
	results, err := parseReport(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", cluster, err)
	}
	if err := verdict(out, cluster, expressions, results); err != nil {
		return fmt.Errorf("%w; see %s", err, log.Name())
	}
	if ended != nil {
		return fmt.Errorf("%s: %w; see %s", cluster, ended, log.Name())
	}
	return nil
}

func arguments(kubeconfig, report string, expressions []string, nodes int, timeout time.Duration) []string {
	return []string{
		"--kubeconfig=" + kubeconfig, "--provider=skeleton", fmt.Sprintf("--num-nodes=%d", nodes),
		"--ginkgo.focus=" + strings.Join(expressions, "|"), "--ginkgo.json-report=" + report,
		"--ginkgo.no-color", "--ginkgo.timeout=" + timeout.String(), "--test.timeout=0",
		"--allowed-not-ready-nodes=0", "--minStartupPods=0", "--system-pods-startup-timeout=2m", "--node-schedulable-timeout=2m",
		"--disable-log-dump", "--dump-logs-on-failure=false",
	}
}
