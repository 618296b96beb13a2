// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-io/fairlead/internal/cli/hub"
	"github.com/fairlead-io/fairlead/internal/cli/status"
)

// completionTime bounds what a person who has pressed the tab key waits for.
const completionTime = 2 * time.Second

// seen is the fleet for completion: empty when it cannot be had, since an error has no place
// on a half-written command line.
func (o *options) seen(cmd *cobra.Command, stack string) status.Fleet {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	q := hub.Query{Stack: stack}
	if everywhere, err := cmd.Flags().GetBool("all-namespaces"); err != nil || !everywhere {
		var err error
		if q.Namespace, err = o.namespace(); err != nil {
			return status.Fleet{}
		}
	}
	client, err := o.hub()
	if err != nil {
		return status.Fleet{}
	}
	fleet, err := client.Overview(ctx, q)
	if err != nil {
		return status.Fleet{}
	}
	return fleet
}

// completeStacks offers NetworkStacks as the first argument.
func (o *options) completeStacks(cmd *cobra.Command, args []string, _ string) (out []string, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, s := range o.seen(cmd, "").Stacks {
		out = append(out, cobra.CompletionWithDesc(s.Name, s.Version+" "+s.Phase()))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeWaves offers the waves of the stack that is named.
func (o *options) completeWaves(cmd *cobra.Command, args []string, _ string) (out []string, _ cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, s := range o.seen(cmd, args[0]).Stacks {
		for _, w := range s.Rollout.Waves {
			out = append(out, cobra.CompletionWithDesc(w.Name, string(w.Phase)))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeClusters offers the clusters of the stack that is named, or all.
func (o *options) completeClusters(cmd *cobra.Command, args []string, _ string) (out []string, _ cobra.ShellCompDirective) {
	stack := ""
	if len(args) > 0 {
		stack = args[0]
	}
	for _, c := range o.seen(cmd, stack).Clusters {
		out = append(out, cobra.CompletionWithDesc(c.Name, c.Stack))
	}
	slices.Sort(out)
	return out, cobra.ShellCompDirectiveNoFileComp
}
