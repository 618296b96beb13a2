// SPDX-License-Identifier: Apache-2.0

// Command fairleadctl shows people what Fairlead does on a fleet and on a cluster, and
// takes their word about a rollout. Under the name kubectl-fairlead it is a plugin of kubectl.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/fairlead-io/fairlead/internal/cli/agents"
	"github.com/fairlead-io/fairlead/internal/cli/hub"
	"github.com/fairlead-io/fairlead/internal/version"
)

// defaultNamespace is where the operator installs agents.
const defaultNamespace = "fairlead-system"

// options are those of every command.
type options struct {
	kube    *genericclioptions.ConfigFlags
	system  string
	node    string
	output  string
	timeout time.Duration
}

// exit is an error with an exit code of its own; every other one exits with 1.
type exit struct {
	code int
	// why is said to the person; empty: everything has been said.
	why string
}

func (e exit) Error() string { return e.why }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes a command line and returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(errs, "fairleadctl:", text) //nolint:errcheck // there is nobody else to tell
	}
	var e exit
	if errors.As(err, &e) {
		return e.code
	}
	return 1
}

func newRoot() *cobra.Command {
	name := "fairleadctl"
	if strings.HasPrefix(filepath.Base(os.Args[0]), "kubectl-") {
		name = "kubectl fairlead"
	}
	o := &options{kube: genericclioptions.NewConfigFlags(true)}
	root := &cobra.Command{
		Use:           "fairleadctl",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: name},
		Short:         "See what Fairlead does on a fleet and on a cluster, and steer rollouts",
		Version:       version.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	o.kube.AddFlags(root.PersistentFlags())
	f := root.PersistentFlags()
	f.StringVarP(&o.output, "output", "o", "", "json or yaml for programs; empty: for people")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	_ = root.RegisterFlagCompletionFunc("namespace", cobra.NoFileCompletions)
	root.AddCommand(newStatusCommand(o), newPlanCommand(o), newRolloutCommand(o), newServiceCommand(o), newAddressesCommand(o), newTraceCommand(o), newPoliciesCommand(o), newDropsCommand(o))
	return root
}

// ask sends a request to the agents.
func (o *options) ask(ctx context.Context, path string) ([]agents.Answer, error) {
	if err := o.checkOutput(); err != nil {
		return nil, err
	}
	cfg, err := o.kube.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	return agents.Ask(ctx, cfg, agents.Options{Namespace: o.system, Node: o.node, Timeout: o.timeout}, path)
}

// hub is a client of the management cluster.
func (o *options) hub() (*hub.Client, error) {
	cfg, err := o.kube.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("there is no cluster to ask: %w; name one by --kubeconfig and --context", err)
	}
	return hub.New(cfg)
}

// namespace is the one that is asked for, or that of the kubeconfig's context.
func (o *options) namespace() (string, error) {
	namespace, _, err := o.kube.ToRawKubeConfigLoader().Namespace()
	return namespace, err
}
