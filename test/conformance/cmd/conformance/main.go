// SPDX-License-Identifier: Apache-2.0

// Command conformance runs upstream's network specs against clusters of the lab, and prints what passed.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-io/fairlead/test/conformance"
	"github.com/fairlead-io/fairlead/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var focus, set string
	var parallel int
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "conformance [CLUSTER...]",
		Short: "Run Kubernetes' own network specs against clusters of the lab (all workload clusters when none is named)",
		RunE: func(cmd *cobra.Command, clusters []string) error {
			l, err := openLab()
			if err != nil {
				return err
			}
			if len(clusters) == 0 {
				for _, c := range l.Plan.Clusters {
					if !c.Hub {
						clusters = append(clusters, c.Name)
					}
				}
			}
			return conformance.Run(cmd.Context(), conformance.Options{Lab: l, Clusters: clusters, Set: conformance.Set(set),
				Focus: focus, Parallel: parallel, Timeout: timeout, Out: os.Stdout})
		},
		SilenceUsage: true, SilenceErrors: true,
	}
	cmd.Flags().StringVar(&focus, "focus", "", "run only the specs of the set whose text holds these words; or, when none does, any that match")
	cmd.Flags().StringVar(&set, "set", string(conformance.Network), "which specs: network, short (and some about Services and policies), services (all about Services), native (those about Services that need native routing), policy (all about NetworkPolicy), policy-api (network-policy-api's own suite)")
	cmd.Flags().IntVar(&parallel, "parallel", 1, "processes for each cluster that share the specs")
	cmd.Flags().DurationVar(&timeout, "timeout", 15*time.Minute, "for each cluster")
	if err := cmd.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func openLab() (*lab.Lab, error) {
	l, err := lab.Here(lab.Open)
	if err != nil {
		return nil, err
	}
	l.Program = filepath.Join(l.Builder.Checkout, "bin", "lab")
	if _, err := os.Stat(l.Program); err != nil {
		return nil, fmt.Errorf("the lab's program is not built: make lab-build: %w", err)
	}
	return l, nil
}
