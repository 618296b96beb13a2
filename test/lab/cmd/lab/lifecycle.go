// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/fairlead-io/fairlead/test/lab"
	"github.com/fairlead-io/fairlead/test/lab/plan"
)

type opener func(plan.Settings, string, io.Writer) (*lab.Lab, error)

func lifecycleCommands() []*cobra.Command {
	up := &cobra.Command{
		Use: "up", Short: "Start the lab, or repair it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := fromSettings()
			if err != nil {
				return err
			}
			if err := l.Up(cmd.Context()); err != nil {
				return err
			}
			return announce(l)
		},
	}
	var keepLogs bool
	down := &cobra.Command{
		Use: "down", Short: "Remove the lab and everything of it", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			l, err := fromSettings()
			if err != nil {
				return err
			}
			return l.Down(keepLogs)
		},
	}
	down.Flags().BoolVar(&keepLogs, "keep-logs", false, "leave the logs in the lab's folder")
	build := &cobra.Command{
		Use: "build", Short: "Make the binaries and images only", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := fromSettings()
			if err != nil {
				return err
			}
			if err := l.Builder.All(cmd.Context()); err != nil {
				return err
			}
			fmt.Println(l.Builder.Dir())
			return nil
		},
	}
	return []*cobra.Command{up, down, build}
}

func announce(l *lab.Lab) error {
	s := l.Status()
	fmt.Printf("\nThe lab is up after %s.\n\n", l.Progress.Elapsed())
	if err := s.Print(os.Stdout); err != nil {
		return err
	}
	if len(s.Clusters) == 1 {
		fmt.Printf(`
Try:
  export KUBECONFIG=%s PATH=%s:$PATH
  kubectl get nodes -o wide
`, s.Kubeconfigs[plan.HubName], s.Bin)
		return nil
	}
	fmt.Printf(`
Try:
  export KUBECONFIG=%s PATH=%s:$PATH
  kubectl get nodes -o wide       # not ready until a CNI is installed
  kubectl --kubeconfig %s -n fleet get clusters
`, s.Kubeconfigs[s.Clusters[1].Name], s.Bin, s.Kubeconfigs[plan.HubName])
	return nil
}
