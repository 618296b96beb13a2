// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-io/fairlead/internal/cli/policies"
)

func newPoliciesCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policies",
		Short: "Show which network policies the nodes enforce on which pods",
		Example: `  fairleadctl policies
  fairleadctl policies --namespace shop
  fairleadctl policies --node worker-3 -o json`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return o.policies(cmd) },
	}
	o.agentFlags(cmd)
	return cmd
}

func newDropsCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drops",
		Short: "Show the packets that the nodes have dropped last, and why",
		Example: `  fairleadctl drops
  fairleadctl drops --node worker-3 -o json`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return o.drops(cmd) },
	}
	o.agentFlags(cmd)
	return cmd
}

// agentFlags say which agents are asked.
func (o *options) agentFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.system, "system-namespace", defaultNamespace, "namespace of Fairlead's agents")
	f.StringVar(&o.node, "node", "", "ask the agent of this node only")
	f.DurationVar(&o.timeout, "agent-timeout", 10*time.Second, "how long an agent may take to answer")
}

func (o *options) policies(cmd *cobra.Command) error {
	answers, err := o.ask(cmd.Context(), "/policies")
	if err != nil {
		return err
	}
	nodes, failed := policies.Nodes(answers)
	if o.kube.Namespace != nil && *o.kube.Namespace != "" {
		nodes = policies.InNamespace(nodes, *o.kube.Namespace)
	}
	err = o.print(cmd.OutOrStdout(), nodes, func(w io.Writer) error { return policies.Print(w, nodes) })
	return errors.Join(err, unanswered(failed))
}

func (o *options) drops(cmd *cobra.Command) error {
	answers, err := o.ask(cmd.Context(), "/drops")
	if err != nil {
		return err
	}
	drops, failed := policies.Drops(answers)
	err = o.print(cmd.OutOrStdout(), drops, func(w io.Writer) error { return policies.PrintDrops(w, drops) })
	return errors.Join(err, unanswered(failed))
}
