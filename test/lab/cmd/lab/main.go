// SPDX-License-Identifier: Apache-2.0

// Command lab starts, inspects and removes labs: real Kubernetes clusters on one machine.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/fairlead-io/fairlead/test/lab"
)

const long = `Real Kubernetes clusters on one Linux machine: a hub and some workload clusters whose nodes are
namespaces. No Docker, no registry, no way out of the machine.

Settings come from the environment:
  LAB_DIR         where the lab lives (default ./.lab); labs in different folders do not disturb each other
  LAB_NODES       nodes in each workload cluster (default 2)
  LAB_CLUSTERS    the workload clusters (default "alpha bravo"), or none; the hub is always there
  LAB_CAPI        on: Cluster API runs for the hub and makes clusters out of Cluster objects; wants LAB_CLUSTERS=none
  LAB_KUBERNETES  Kubernetes version (default v1.35.4)
  LAB_KUBERNETES_ALSO  versions that clusters made by Cluster API may have, too
  LAB_BIN         a folder with prebuilt binaries to use (kubernetes; containerd, containerd-shim-runc-v2, ctr; coredns; pause)`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{Use: "lab", Short: "Real Kubernetes clusters on one machine", Long: long, SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(lifecycleCommands()...)
	root.AddCommand(machineCommands()...)
	root.AddCommand(inspectCommands()...)
	root.AddCommand(imageCommand())
	root.AddCommand(hiddenCommands()...)
	root.SetArgs(doubleDashes(os.Args[1:]))
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

// doubleDashes lets `lab image` take its long options with one dash too, as Go programs do.
func doubleDashes(args []string) []string {
	if len(args) == 0 || args[0] != "image" {
		return args
	}
	out := slices.Clone(args)
	for i, a := range out {
		if len(a) > 2 && a[0] == '-' && a[1] != '-' {
			out[i] = "-" + a
		}
	}
	return out
}

// fromSettings is the lab that the environment describes; existing is the one that is there.
func fromSettings() (*lab.Lab, error) { return find(lab.New) }
func existing() (*lab.Lab, error)     { return find(lab.Open) }

func find(open opener) (*lab.Lab, error) {
	l, err := lab.Here(open)
	if err != nil {
		return nil, err
	}
	l.Program, err = os.Executable()
	return l, err
}
