// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/fairlead-io/fairlead/cmd/fairlead/controllerrun"
	"github.com/fairlead-io/fairlead/internal/observe"
)

func newControllerCommand() *cobra.Command {
	var cfg controllerrun.Config
	var level, nodeName string
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Serve a cluster: compute its nodes' state and keep the agents in step",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Log, err = observe.NewLogger(level); err != nil {
				return err
			}
			if err := cfg.Validate(); err != nil {
				return err
			}
			if cfg.Kube, err = config.GetConfig(); err != nil {
				return err
			}
			if nodeName != "" {
				cfg.Log = cfg.Log.With("node", nodeName)
			}
			return controllerrun.Run(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Listen, "listen", ":9440", "address of the xDS server")
	f.StringVar(&cfg.Health, "health", ":9441", "address of /healthz, /readyz and /metrics")
	f.StringVar(&cfg.CADir, "ca-dir", "", "folder with tls.crt, tls.key and ca.crt of Secret fairlead-cluster-ca, and the key revoked of ConfigMap fairlead-trust if it is there")
	f.StringVar(&cfg.ClusterName, "cluster-name", "", "name of the cluster, part of every identity")
	f.StringSliceVar(&cfg.ClusterPodCIDRs, "cluster-pod-cidrs", nil, "every range that pods of the cluster may have (repeatable, or separated by commas)")
	f.BoolVar(&cfg.Services, "services", false, "serve Services to the agents, which balance them in kube-proxy's place, and give those of type LoadBalancer addresses")
	f.StringVar(&cfg.Namespace, "namespace", "fairlead-system", "namespace of the controllers")
	f.StringVar(&cfg.PodName, "pod-name", os.Getenv("POD_NAME"), "name of this controller's pod (POD_NAME)")
	f.StringVar(&nodeName, "node-name", os.Getenv("NODE_NAME"), "name of the node, for the log (NODE_NAME)")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return cmd
}
