// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/fairlead-io/fairlead/test/lab/build"
)

// policyAPIBinary builds the conformance suite of network-policy-api and returns its path.
func policyAPIBinary(ctx context.Context, b build.Builder) (string, error) {
	module := filepath.Join(b.Checkout, "test", "conformance", "policyapi")
	err := b.Ensure(ctx, build.Target{
		Name: "network-policy-api's conformance suite", Dir: module, Sources: module, Hint: "about a minute the first time",
		Flags: []string{"-ldflags=-s -w"}, Packages: map[string]string{"policyapi.test": "."}, Test: true,
	})
	return filepath.Join(b.Bin(), "policyapi.test"), err
}

// runPolicyAPI runs the suite on a cluster. Upstream's own report is kept beside the logs and, of
// a whole run, in out/.
func runPolicyAPI(ctx context.Context, o Options, out io.Writer, binary, cluster string) error {
	dir := filepath.Join(o.Lab.Plan.Dir, "conformance", cluster+"-policy-api")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	args := []string{
		"-cluster=" + o.Lab.Plan.Kubeconfig(cluster), "-out=" + dir, "-words=" + o.Focus,
		"-test.v", "-test.timeout=" + o.Timeout.String(),
	}
	ended := o.Lab.Progress.Step(fmt.Sprintf("%s: conformance of network-policy-api (log: %s)", cluster, dir), func() error {
		return runLogged(ctx, binary, args, dir, "policyapi.log")
	})
	raw, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		return fmt.Errorf("%s: the suite did not run to its end: %w", cluster, errors.Join(ended, err))
	}
	var results []Result
	if err := json.Unmarshal(raw, &results); err != nil {
		return err
	}
	if o.Focus == "" {
		if err := keepReport(o, dir, cluster); err != nil {
			return err
		}
	}
	if err := verdict(out, cluster, nil, results); err != nil {
		return fmt.Errorf("%w; see %s", err, dir)
	}
	return ended
}

// keepReport copies upstream's report to where results of runs are.
func keepReport(o Options, dir, cluster string) error {
	report, err := os.ReadFile(filepath.Join(dir, "report.yaml"))
	if err != nil {
		return err
	}
	to := filepath.Join(o.Lab.Builder.Checkout, "out", "policy-api-"+cluster+".yaml")
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, report, 0o644)
}

// runLogged runs a test binary, with what it prints in a file. A context that ends lets it clean up.
func runLogged(ctx context.Context, binary string, args []string, dir, name string) error {
	log, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(os.Interrupt) }, 30*time.Second
	return cmd.Run()
}
