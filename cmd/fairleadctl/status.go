// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-io/fairlead/internal/cli/hub"
	"github.com/fairlead-io/fairlead/internal/cli/status"
)

// statusOptions are those of `fairleadctl status`.
type statusOptions struct {
	*options
	allNamespaces, all, watch bool
	only                      []string
}

func newStatusCommand(common *options) *cobra.Command {
	o := &statusOptions{options: common}
	cmd := &cobra.Command{
		Use:   "status [STACK]",
		Short: "Show NetworkStacks, how far their rollouts are, and the clusters that are not Ready",
		Example: `  fairleadctl status --namespace fleet
  fairleadctl status production --all
  fairleadctl status --all-namespaces --watch
  fairleadctl status production --only alpha -o yaml`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: o.completeStacks,
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "look into all namespaces")
	f.BoolVar(&o.all, "all", false, "list every cluster, not only those that are not Ready")
	f.BoolVarP(&o.watch, "watch", "w", false, "go on, and show what changes: redrawn on a terminal, a line for each change elsewhere")
	f.StringSliceVar(&o.only, "only", nil, "list this cluster only; repeat for more")
	_ = cmd.RegisterFlagCompletionFunc("only", o.completeClusters)
	return cmd
}

func (o *statusOptions) run(cmd *cobra.Command, args []string) error {
	q, err := o.query(args)
	if err != nil {
		return err
	}
	client, err := o.hub()
	if err != nil {
		return err
	}
	if o.watch {
		return o.follow(cmd, client, q)
	}
	read := client.Overview
	if o.output != "" {
		read = client.Fleet
	}
	fleet, err := read(cmd.Context(), q)
	if err != nil {
		return err
	}
	if fleet, err = o.narrow(fleet, q); err != nil {
		return err
	}
	return o.print(cmd.OutOrStdout(), fleet, func(w io.Writer) error { return status.Print(w, fleet, o.show()) })
}

func (o *statusOptions) show() status.Options {
	return status.Options{All: o.all || len(o.only) > 0, Now: time.Now()}
}

func (o *statusOptions) query(args []string) (q hub.Query, err error) {
	if err := o.checkOutput(); err != nil {
		return q, err
	}
	if o.watch && o.output != "" {
		return q, errors.New("--watch and --output exclude each other: leave one of them out")
	}
	if !o.allNamespaces {
		if q.Namespace, err = o.namespace(); err != nil {
			return q, err
		}
	}
	if len(args) > 0 {
		q.Stack = args[0]
	}
	return q, nil
}

// narrow leaves the clusters that were asked for, and says which stack or cluster is not there.
func (o *statusOptions) narrow(f status.Fleet, q hub.Query) (status.Fleet, error) {
	where := "any namespace"
	if q.Namespace != "" {
		where = "namespace " + q.Namespace
	}
	if q.Stack != "" && len(f.Stacks) == 0 {
		return f, fmt.Errorf("there is no NetworkStack %s in %s: name another one, or its namespace (-n); `fairleadctl status -A` shows all", q.Stack, where)
	}
	if len(o.only) == 0 {
		return f, nil
	}
	missing := slices.Clone(o.only)
	f.Clusters = slices.DeleteFunc(f.Clusters, func(c status.Cluster) bool {
		wanted := slices.Contains(o.only, c.Name)
		missing = slices.DeleteFunc(missing, func(m string) bool { return m == c.Name })
		return !wanted
	})
	if len(missing) > 0 {
		return f, fmt.Errorf("there is no ClusterStack %s in %s: does a NetworkStack select the Cluster? `fairleadctl status --all` lists those that are there", strings.Join(missing, ", "), where)
	}
	return f, nil
}

// clearScreen takes a terminal's cursor home and clears what is below.
const clearScreen = "\x1b[H\x1b[J"

// follow shows the fleet whenever it changes, until the person ends it.
func (o *statusOptions) follow(cmd *cobra.Command, client *hub.Client, q hub.Query) error {
	w := cmd.OutOrStdout()
	show := o.lines(w, q)
	if isTerminal(w) {
		show = o.redraw(w, q)
	}
	err := client.Watch(cmd.Context(), q, show)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (o *statusOptions) redraw(w io.Writer, q hub.Query) func(status.Fleet) error {
	return func(f status.Fleet) error {
		f, err := o.narrow(f, q)
		if err != nil {
			return err
		}
		var b strings.Builder
		b.WriteString(clearScreen)
		if err := status.Print(&b, f, o.show()); err != nil {
			return err
		}
		_, err = io.WriteString(w, b.String())
		return err
	}
}

// lines writes what has changed, each line with the time at which it was seen.
func (o *statusOptions) lines(w io.Writer, q hub.Query) func(status.Fleet) error {
	var before status.Fleet
	return func(f status.Fleet) error {
		f, err := o.narrow(f, q)
		if err != nil {
			return err
		}
		for _, line := range status.News(before, f) {
			if _, err := fmt.Fprintf(w, "%s %s\n", time.Now().UTC().Format(time.RFC3339), line); err != nil {
				return err
			}
		}
		before = f
		return nil
	}
}
