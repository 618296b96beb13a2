// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/cli/hub"
	"github.com/fairlead-io/fairlead/internal/cli/rollout"
)

// rolloutOptions are those of `fairleadctl rollout`.
type rolloutOptions struct {
	*options
	word    rollout.Word
	yes     bool
	watch   bool
	timeout time.Duration
}

func newRolloutCommand(common *options) *cobra.Command {
	o := &rolloutOptions{options: common}
	cmd := &cobra.Command{Use: "rollout", Short: "Watch a NetworkStack's rollout, pause it, let waves begin, undo it"}
	pause := o.command("pause", "Let no further cluster begin; those that have begun go on",
		`Let no further cluster begin; those that have begun go on.

spec.rollout.paused is set as a field of fairleadctl's own (server-side apply), so that whoever applies the
rest of the spec, out of a Git repository perhaps, leaves it alone.`, o.pause)
	resume := o.command("resume", "Let clusters begin again", `Let clusters begin again: fairleadctl gives spec.rollout.paused back. A pause that somebody else has set,
in a Git repository perhaps, stays, and is named.`, o.resume)
	approve := o.command("approve", "Let a wave begin that needs approval", `Let a wave begin that needs approval: without --wave the one that waits. The word counts for the newest
revision only (--revision makes sure that it is the one you looked at).`, func(cmd *cobra.Command, name string) error {
		return o.steer(cmd, name, rollout.Approve)
	})
	approve.Flags().StringVar(&o.word.Wave, "wave", "", "the wave; one that comes later is approved ahead")
	_ = approve.RegisterFlagCompletionFunc("wave", o.completeWaves)
	undo := o.command("undo", "Bring every cluster back to what was proven before the newest change", `Bring every cluster back to what was proven before the newest change. The spec stays as it is: correct it,
where it comes from, before the next change.`, o.undo)
	undo.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	retry := o.command("retry", "Have a rollout that was stopped or undone begin anew", "Have a rollout that was stopped or undone begin anew, with the same configuration.", func(cmd *cobra.Command, name string) error {
		return o.steer(cmd, name, rollout.Retry)
	})
	for _, c := range []*cobra.Command{approve, undo, retry} {
		c.Flags().StringVar(&o.word.Revision, "revision", "", "refuse when this is not the newest revision")
	}
	cmd.AddCommand(newRolloutStatusCommand(o), pause, resume, approve, undo, retry)
	return cmd
}

// command is a command about one stack.
func (o *rolloutOptions) command(verb, short, long string, run func(*cobra.Command, string) error) *cobra.Command {
	return &cobra.Command{
		Use: verb + " STACK", Short: short, Long: long,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: o.completeStacks,
		RunE:              func(cmd *cobra.Command, args []string) error { return run(cmd, args[0]) },
	}
}

func (o *rolloutOptions) pause(cmd *cobra.Command, name string) error {
	client, namespace, err := o.stack()
	if err != nil {
		return err
	}
	if err := client.Pause(cmd.Context(), namespace, name); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "paused: no further cluster of NetworkStack %s begins; `fairleadctl rollout resume %s` ends that\n", name, name)
	return err
}

func (o *rolloutOptions) resume(cmd *cobra.Command, name string) error {
	client, namespace, err := o.stack()
	if err != nil {
		return err
	}
	if err := client.Resume(cmd.Context(), namespace, name); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "resumed: clusters of NetworkStack %s begin again\n", name)
	return err
}

// steer writes what a person's word comes to.
func (o *rolloutOptions) steer(cmd *cobra.Command, name string, decide func(*v1alpha1.NetworkStack, rollout.Word) (rollout.Change, error)) error {
	client, namespace, err := o.stack()
	if err != nil {
		return err
	}
	change, err := client.Annotate(cmd.Context(), namespace, name, func(s *v1alpha1.NetworkStack) (rollout.Change, error) {
		return decide(s, o.word)
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), change.Said)
	return err
}

func (o *rolloutOptions) undo(cmd *cobra.Command, name string) error {
	if !o.yes {
		client, namespace, err := o.stack()
		if err != nil {
			return err
		}
		s, err := client.Stack(cmd.Context(), namespace, name)
		if err != nil {
			return err
		}
		if _, err := rollout.Undo(s, o.word); err != nil {
			return err
		}
		if err := confirm(cmd, fmt.Sprintf("Bring all clusters of NetworkStack %s back to what was proven before revision %s?", name, s.Status.Rollout.Revision)); err != nil {
			return err
		}
		// What is undone is what the person was asked about.
		o.word.Revision = s.Status.Rollout.Revision
	}
	return o.steer(cmd, name, rollout.Undo)
}

// confirm asks a person, and refuses where there is none.
func confirm(cmd *cobra.Command, question string) error {
	if !isTerminal(cmd.InOrStdin()) {
		return errors.New("there is no terminal to ask on: say --yes if you are sure")
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question) //nolint:errcheck // what follows is read anyway
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}

// stack is the client and the namespace of the one stack that is meant.
func (o *rolloutOptions) stack() (*hub.Client, string, error) {
	if o.output != "" {
		return nil, "", errors.New("--output is for `status` and `plan`: leave it out")
	}
	namespace, err := o.namespace()
	if err != nil {
		return nil, "", err
	}
	client, err := o.hub()
	return client, namespace, err
}

// bounded is a context that ends after the time that a person is ready to wait; 0: never.
func bounded(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}
