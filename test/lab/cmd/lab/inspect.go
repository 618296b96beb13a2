// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

func inspectCommands() []*cobra.Command {
	var output string
	status := &cobra.Command{
		Use: "status", Short: "Show clusters, machines, addresses and logs", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			l, err := existing()
			if err != nil {
				return err
			}
			switch output {
			case "":
				return l.Status().Print(os.Stdout)
			case "json":
				e := json.NewEncoder(os.Stdout)
				e.SetIndent("", "  ")
				return e.Encode(l.Status())
			}
			return fmt.Errorf("-o %q is unknown: use -o json, or none for a table", output)
		},
	}
	status.Flags().StringVarP(&output, "output", "o", "", "json, or empty for a table")
	kubeconfig := &cobra.Command{
		Use: "kubeconfig CLUSTER", Short: "Print the path of a cluster's kubeconfig", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := existing()
			if err != nil {
				return err
			}
			c, err := l.Plan.Cluster(args[0])
			if err == nil {
				fmt.Println(l.Plan.Kubeconfig(c.Name))
			}
			return err
		},
	}
	kubectl := &cobra.Command{
		Use: "kubectl CLUSTER ARGS...", Short: "Run the lab's kubectl against a cluster", Args: cobra.MinimumNArgs(1), DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := existing()
			if err != nil {
				return err
			}
			c, err := l.Plan.Cluster(args[0])
			if err != nil {
				return err
			}
			program := filepath.Join(l.Builder.Bin(), "kubectl")
			return syscall.Exec(program, append([]string{"kubectl", "--kubeconfig", l.Plan.Kubeconfig(c.Name)}, args[1:]...), os.Environ())
		},
	}
	logs := &cobra.Command{
		Use: "logs [MACHINE [SERVICE]]", Short: "List the log files, or print one", Args: cobra.MaximumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := existing()
			if err != nil {
				return err
			}
			return l.Logs(os.Stdout, args...)
		},
	}
	return []*cobra.Command{status, kubeconfig, kubectl, logs}
}
