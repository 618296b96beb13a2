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
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-io/fairlead/test/lab"
)

// Options say what runs where.
type Options struct {
	Lab      *lab.Lab      // Its builder makes the specs; its clusters are tested.
	Clusters []string      // Names of the lab's clusters.
	Set      Set           // Which specs; empty for Network.
	Focus    string        // Words of the specs to run; empty for the whole set.
	Parallel int           // Processes for each cluster that share the specs; 0 is 1.
	Timeout  time.Duration // For each cluster.
	Out      io.Writer     // For the summary.
}

// Run tests the clusters and reports on all of them. The error says what failed.
func Run(ctx context.Context, o Options) error {
	run, binary, err := o.program(ctx)
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
	if (o.Set == Services || o.Set == Policy) && o.Focus == "" {
		if err := checkLists(ctx, binary, o); err != nil {
			return err
		}
	}
	// Specs mostly wait: the clusters are tested side by side, and reported one by one.
	errs, reports := make([]error, len(o.Clusters)), make([]bytes.Buffer, len(o.Clusters))
	var wg sync.WaitGroup
	for i, cluster := range o.Clusters {
		wg.Go(func() { errs[i] = run(ctx, o, &reports[i], binary, cluster) })
	}
	wg.Wait()
	for i, cluster := range o.Clusters {
		if _, err := fmt.Fprintf(o.Out, "%s\n%s", cluster, reports[i].String()); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// program builds what runs a set, and agnhost with it, and says how it is run on a cluster.
func (o Options) program(ctx context.Context) (run func(context.Context, Options, io.Writer, string, string) error, binary string, err error) {
	run = runOn
	if binary, err = testBinary(ctx, o.Lab.Builder); err == nil && o.Set == PolicyAPI {
		run = runPolicyAPI
		binary, err = policyAPIBinary(ctx, o.Lab.Builder)
	}
	return run, binary, err
}

func runOn(ctx context.Context, o Options, out io.Writer, binary, cluster string) error {
	c, err := o.Lab.Plan.Cluster(cluster)
	if err != nil {
		return err
	}
	all, err := o.Set.specs()
	if err != nil {
		return err
	}
	if err := labelZones(ctx, o.Lab.Plan.Kubeconfig(cluster)); err != nil {
		return fmt.Errorf("%s: %w", cluster, err)
	}
	dir := filepath.Join(o.Lab.Plan.Dir, "conformance", cluster)
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	expressions := selectSpecs(all, o.Focus)
	shares := share(expressions, o.Parallel)
	errs, results := make([]error, len(shares)), make([][]Result, len(shares))
	ended := o.Lab.Progress.Step(fmt.Sprintf("%s: %d specs (logs: %s)", cluster, len(expressions), dir), func() error {
		var wg sync.WaitGroup
		for i, some := range shares {
			wg.Go(func() {
				p := process{binary: binary, dir: dir, number: i, kubeconfig: o.Lab.Plan.Kubeconfig(cluster), nodes: len(c.Nodes), timeout: o.Timeout}
				results[i], errs[i] = p.run(ctx, some)
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	})
	if err := verdict(out, cluster, expressions, slices.Concat(results...)); err != nil {
		return fmt.Errorf("%w; see %s", errors.Join(err, ended), dir)
	}
	if ended != nil {
		return fmt.Errorf("%s: %w; see %s", cluster, ended, dir)
	}
	return nil
}

// share deals specs out to so many processes; none gets nothing.
func share(specs []string, processes int) [][]string {
	shares := make([][]string, max(1, min(processes, len(specs))))
	for i, s := range specs {
		shares[i%len(shares)] = append(shares[i%len(shares)], s)
	}
	return shares
}

// process is one run of the test binary.
type process struct {
	binary, dir, kubeconfig string
	number, nodes           int
	timeout                 time.Duration
}

// run runs specs and returns what became of them, also beside an error.
func (p process) run(ctx context.Context, expressions []string) ([]Result, error) {
	log, report := fmt.Sprintf("e2e-%d.log", p.number), filepath.Join(p.dir, fmt.Sprintf("report-%d.json", p.number))
	ended := runLogged(ctx, p.binary, arguments(p.kubeconfig, report, expressions, p.nodes, p.timeout), p.dir, log)
	raw, err := os.ReadFile(report)
	if err != nil {
		return nil, fmt.Errorf("the specs did not run to their end (%w): see %s", errors.Join(ended, err), filepath.Join(p.dir, log))
	}
	results, err := parseReport(raw)
	return results, errors.Join(err, ended)
}

// checkLists compares the lists with what the binary has, without running a spec.
func checkLists(ctx context.Context, binary string, o Options) error {
	dir, err := os.MkdirTemp("", "fairlead-specs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	report := filepath.Join(dir, "report.json")
	args := append(arguments(o.Lab.Plan.Kubeconfig(o.Clusters[0]), report, []string{`\[sig-network\]`}, 0, time.Minute), "--ginkgo.dry-run")
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("listing the specs: %w: %s", err, out)
	}
	raw, err := os.ReadFile(report)
	if err != nil {
		return err
	}
	texts, err := parseTexts(raw)
	if err != nil {
		return err
	}
	if missing := unmatched(literally(slices.Concat(serviceSpecs, nativeServiceSpecs, policySpecs)), texts); len(missing) > 0 {
		return fmt.Errorf("upstream has no spec (any more) that matches %q: correct the lists in services.go and policy.go", missing)
	}
	return unlisted(texts)
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
