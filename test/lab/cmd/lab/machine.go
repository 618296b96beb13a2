// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/fairlead-io/fairlead/test/lab"
	"github.com/fairlead-io/fairlead/test/lab/node"
	"github.com/fairlead-io/fairlead/test/lab/supervise"
)

func machineCommands() []*cobra.Command {
	onLab := func(use, short string, args cobra.PositionalArgs, f func(*lab.Lab, *cobra.Command, []string) error) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
			l, err := existing()
			if err != nil {
				return err
			}
			return f(l, cmd, args)
		}}
	}
	exec := onLab("exec MACHINE -- COMMAND...", "Run a command on a machine", cobra.MinimumNArgs(2),
		func(l *lab.Lab, _ *cobra.Command, args []string) error { return l.Exec(args[0], commandOf(args[1:])) })
	exec.Flags().SetInterspersed(false)
	return []*cobra.Command{
		exec,
		onLab("load IMAGE.tar...", "Import image archives on every node, the hub's too", cobra.MinimumNArgs(1),
			func(l *lab.Lab, cmd *cobra.Command, args []string) error {
				return l.Progress.Step("load images", func() error { return l.Load(cmd.Context(), args...) })
			}),
		onLab("kill-node MACHINE", "Take a machine's power away (kill -9 of all of it); its disk stays", cobra.ExactArgs(1),
			func(l *lab.Lab, _ *cobra.Command, args []string) error { return l.Kill(args[0]) }),
		onLab("start-node MACHINE", "Boot a machine that was killed", cobra.ExactArgs(1),
			func(l *lab.Lab, cmd *cobra.Command, args []string) error { return l.Start(cmd.Context(), args[0]) }),
	}
}

// hiddenCommands are those by which the program calls itself.
func hiddenCommands() []*cobra.Command {
	return []*cobra.Command{
		{Use: node.BootCommand, Hidden: true, Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return node.Boot(args[0]) }},
		{Use: node.InitCommand, Hidden: true, Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return node.Init(args[0]) }},
		{Use: supervise.Command, Hidden: true, Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				l, err := lab.OpenFromDir()
				if err != nil {
					return err
				}
				l.Program = "/proc/self/exe" // Whatever its path is by now.
				return l.Supervise()
			}},
	}
}

// commandOf drops the -- before the command.
func commandOf(args []string) []string {
	if len(args) > 1 && args[0] == "--" {
		return args[1:]
	}
	return args
}
