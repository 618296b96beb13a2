// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/fairlead/internal/observe"
	"github.com/fairlead-io/fairlead/internal/probe/prober"
)

func newProbeCommand(level *string) *cobra.Command {
	var cfg prober.Config
	var addresses string
	var started bool
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "Send packets to other nodes' probes, and report what became of them on standard output",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if started {
				return prober.Started(cmd.Context())
			}
			if cfg.Log, err = observe.NewLogger(*level); err != nil {
				return err
			}
			if cfg.Addresses, err = parseAddresses(addresses); err != nil {
				return err
			}
			// Without it, connections go by the Service's name.
			cfg.Service, _ = netip.ParseAddr(os.Getenv("FAIRLEAD_PROBE_SERVICE_HOST"))
			kube, err := rest.InClusterConfig()
			if err != nil {
				return err
			}
			cfg.Peers = prober.Watch(kube, cfg.Namespace)
			cfg.Reports = cmd.OutOrStdout()
			return prober.Run(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Node, "node-name", os.Getenv("NODE_NAME"), "name of the node (NODE_NAME)")
	f.StringVar(&cfg.Namespace, "namespace", os.Getenv("POD_NAMESPACE"), "namespace of the pod (POD_NAMESPACE)")
	f.StringVar(&addresses, "addresses", os.Getenv("POD_IPS"), "comma-separated addresses of the pod (POD_IPS)")
	f.StringVar(&cfg.Resolv, "resolv-conf", "/etc/resolv.conf", "configuration of the resolver, which names the cluster's domain")
	f.BoolVar(&started, "started", false, "only say whether the probes of this pod have reported")
	return cmd
}

func parseAddresses(list string) (out []netip.Addr, err error) {
	for _, text := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("--addresses (POD_IPS) is %q: give the pod's addresses, separated by commas", list)
		}
		out = append(out, a)
	}
	return out, nil
}
