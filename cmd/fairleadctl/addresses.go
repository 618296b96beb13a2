// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-io/fairlead/internal/cli/addresses"
)

func newAddressesCommand(o *options) *cobra.Command {
	var everywhere, brief bool
	cmd := &cobra.Command{
		Use:   "addresses",
		Short: "Show which numbers and addresses clusters hold, and what is left",
		Example: `  fairleadctl addresses --namespace fleet
  fairleadctl addresses --all-namespaces --brief
  fairleadctl addresses -n fleet -o json`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return o.addresses(cmd, everywhere, brief) },
	}
	f := cmd.Flags()
	f.BoolVarP(&everywhere, "all-namespaces", "A", false, "look into all namespaces")
	f.BoolVar(&brief, "brief", false, "only what is left, not what each cluster holds")
	return cmd
}

func (o *options) addresses(cmd *cobra.Command, everywhere, brief bool) error {
	if err := o.checkOutput(); err != nil {
		return err
	}
	namespace := ""
	if !everywhere {
		var err error
		if namespace, err = o.namespace(); err != nil {
			return err
		}
	}
	client, err := o.hub()
	if err != nil {
		return err
	}
	found, err := client.FleetPools(cmd.Context(), namespace)
	if err != nil {
		return err
	}
	if len(found) == 0 && !everywhere {
		return fmt.Errorf("there is no FleetPool in namespace %s: its Clusters have the addresses that they name; look into others by --namespace or --all-namespaces", namespace)
	}
	pools := addresses.Of(found)
	return o.print(cmd.OutOrStdout(), pools, func(w io.Writer) error { return addresses.Print(w, pools, !brief, time.Now()) })
}
