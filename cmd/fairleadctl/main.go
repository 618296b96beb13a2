// SPDX-License-Identifier: Apache-2.0

// Command fairleadctl shows people what Fairlead does on a cluster. Under the name
// kubectl-fairlead it is a plugin of kubectl.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/fairlead-io/fairlead/internal/cli/agents"
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

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newRoot().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "fairleadctl:", err)
		stop()
		os.Exit(1)
	}
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
		Short:         "See what Fairlead does on a cluster",
		Version:       version.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	o.kube.AddFlags(root.PersistentFlags())
	f := root.PersistentFlags()
	f.StringVar(&o.system, "system-namespace", defaultNamespace, "namespace of Fairlead's agents")
	f.StringVar(&o.node, "node", "", "ask the agent of this node only")
	f.StringVarP(&o.output, "output", "o", "", "json for programs; empty: for people")
	f.DurationVar(&o.timeout, "agent-timeout", 10*time.Second, "how long an agent may take to answer")
	root.AddCommand(newServiceCommand(o))
	return root
}

// ask sends a request to the agents.
func (o *options) ask(ctx context.Context, path string) ([]agents.Answer, error) {
	if o.output != "" && o.output != "json" {
		return nil, fmt.Errorf("--output is %q, want json or nothing", o.output)
	}
	cfg, err := o.kube.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	return agents.Ask(ctx, cfg, agents.Options{Namespace: o.system, Node: o.node, Timeout: o.timeout}, path)
}
