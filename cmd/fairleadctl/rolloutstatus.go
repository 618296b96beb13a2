// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-io/fairlead/internal/cli/hub"
	"github.com/fairlead-io/fairlead/internal/cli/rollout"
	"github.com/fairlead-io/fairlead/internal/cli/status"
)

func newRolloutStatusCommand(o *rolloutOptions) *cobra.Command {
	cmd := o.command("status", "Show how far a rollout is, or wait for its end", `Show how far a rollout is, or wait for its end (--watch).

Exit codes:
  0  it is complete; without --watch, or it is under way, paused or waiting
  1  an error
  3  it was stopped: a gate was breached, or a person undid it; or clusters are being brought back
  4  with --watch: --timeout was over, and it was paused or waiting
  5  with --watch: --timeout was over, and clusters were on their way`, o.status)
	f := cmd.Flags()
	f.BoolVarP(&o.watch, "watch", "w", false, "wait until the rollout is complete or stopped, and show what changes")
	f.DurationVar(&o.timeout, "timeout", 0, "with --watch: how long to wait; 0: until the end")
	return cmd
}

func (o *rolloutOptions) status(cmd *cobra.Command, name string) error {
	if err := o.checkOutput(); err != nil {
		return err
	}
	namespace, err := o.namespace()
	if err != nil {
		return err
	}
	client, err := o.hub()
	if err != nil {
		return err
	}
	q := hub.Query{Namespace: namespace, Stack: name}
	if o.watch {
		return o.await(cmd, client, q)
	}
	s, err := client.Stack(cmd.Context(), namespace, name)
	if err != nil {
		return err
	}
	shown := status.StackOf(s)
	err = o.print(cmd.OutOrStdout(), shown, func(w io.Writer) error { return status.PrintStack(w, &shown, time.Now()) })
	if outcome := rollout.OutcomeOf(shown); err == nil && outcome.Code == rollout.ExitStopped {
		err = exit{code: outcome.Code, why: outcome.Why}
	}
	return err
}

// errOver ends the watch of a rollout that will not go on by itself.
var errOver = errors.New("the rollout is over")

// await shows a rollout until its end.
func (o *rolloutOptions) await(cmd *cobra.Command, client *hub.Client, q hub.Query) error {
	if o.output != "" {
		return errors.New("--watch and --output exclude each other: leave one of them out")
	}
	ctx, cancel := bounded(cmd.Context(), o.timeout)
	defer cancel()
	view := &statusOptions{options: o.options}
	w := cmd.OutOrStdout()
	show := view.lines(w, q)
	if isTerminal(w) {
		show = view.redraw(w, q)
	}
	var last rollout.Outcome
	err := client.Watch(ctx, q, func(f status.Fleet) error {
		if err := show(f); err != nil {
			return err
		}
		if last = rollout.OutcomeOf(f.Stacks[0]); last.Over {
			return errOver
		}
		return nil
	})
	switch {
	case errors.Is(err, errOver), errors.Is(err, context.DeadlineExceeded) && last.Why != "":
		if last.Code == rollout.ExitComplete {
			return nil
		}
		return exit{code: last.Code, why: last.Why}
	case errors.Is(err, context.Canceled):
		return exit{code: 1, why: "interrupted: " + last.Why}
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("--timeout (%s) was over before the API server said anything: %w", o.timeout, err)
	}
	return err
}
