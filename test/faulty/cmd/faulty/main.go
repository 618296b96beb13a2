// SPDX-License-Identifier: Apache-2.0

// Command faulty makes what `make images-faulty` builds its images and charts of.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/fairlead-io/fairlead/test/faulty"
)

func main() {
	root := &cobra.Command{Use: "faulty", Short: "Builds of Fairlead that must not reach a fleet", SilenceUsage: true}
	root.AddCommand(overlayCommand(), chartsCommand())
	if err := root.Execute(); err != nil {
		os.Exit(1)
	}
}

func overlayCommand() *cobra.Command {
	var folder string
	cmd := &cobra.Command{
		Use:       "overlay FAULT",
		Short:     "Write the file for `go build -overlay` that compiles a fault in, to be used in the root of the source",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: faulty.Names(),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := faulty.Overlay(".", args[0], folder)
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), file)
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&folder, "output", "o", "out/faulty", "folder for the changed source")
	return cmd
}

func chartsCommand() *cobra.Command {
	var folder string
	cmd := &cobra.Command{
		Use:   "charts VERSION...",
		Short: "Pack the cni chart under other versions",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, versions []string) error {
			for _, v := range versions {
				file, err := faulty.Pack(folder, v)
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), file)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&folder, "output", "o", "out/charts", "folder for the charts")
	return cmd
}
