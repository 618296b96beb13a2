// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/fairlead-io/fairlead/cmd/fairlead/operatorrun"
	"github.com/fairlead-io/fairlead/internal/fleetmetrics"
	"github.com/fairlead-io/fairlead/internal/observe"
)

// newOperatorCommand is `fairlead operator`, which runs on the management cluster.
func newOperatorCommand() *cobra.Command {
	var c operatorrun.Config
	var format, level string
	cmd := &cobra.Command{
		Use:   "operator",
		Short: "Give every cluster that a NetworkStack selects its network (runs on the management cluster)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			cfg, err := ctrl.GetConfig()
			if err != nil {
				return err
			}
			c.Kube = cfg
			if c.Log, err = operatorLogger(format, level); err != nil {
				return err
			}
			return operatorrun.Run(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.HealthAddress, "health-address", ":9443", "address of /healthz and /readyz")
	f.StringVar(&c.MetricsAddress, "metrics-address", ":9444", "address of /metrics, \"0\" for none")
	f.BoolVar(&c.LeaderElection, "leader-election", true, "run only while this process holds the lease")
	f.StringVar(&c.LeaderElectionNamespace, "leader-election-namespace", "", "namespace of the lease (default: the pod's own)")
	f.StringSliceVar(&c.Namespaces, "namespace", nil, "namespace to serve; repeat for more (default: all)")
	f.StringVar(&c.ImageRepository, "image-repository", "fairlead.io/fairlead", "repository of the image that clusters run")
	f.StringVar(&c.ChartDir, "chart-dir", "", "folder with cni charts of other versions, packaged (.tgz) or as folders (default: the operator's own chart only)")
	f.StringVar(&c.HooksAddress, "hooks-address", "0", "address on which Cluster API's hooks are answered, such as :9445; \"0\" for none")
	f.StringVar(&c.HooksName, "hooks-name", "fairlead", "name of the ExtensionConfig, and of the MutatingWebhookConfiguration, by which the operator is found")
	f.StringSliceVar(&c.HooksHosts, "hooks-host", nil, "name or address that callers of the hooks use; repeat for more")
	f.IntVar(&c.StackConcurrency, "stack-concurrency", 4, "NetworkStacks worked on at a time")
	f.IntVar(&c.ClusterConcurrency, "cluster-concurrency", 16, "clusters worked on at a time")
	f.IntVar(&c.Connectors, "connectors", 32, "clusters connected to at a time; one that does not answer within a second does not count")
	f.DurationVar(&c.ReconnectInterval, "reconnect-interval", 10*time.Second, "time between two attempts to connect to a cluster that is away")
	f.StringVar(&c.Events.Sink, "cloudevents-sink", "", "URL that CloudEvents of rollouts are sent to (default: none are)")
	f.StringVar(&c.Events.BearerFile, "cloudevents-bearer-file", "", "file with the token that the sink asks for")
	f.StringVar(&c.Events.Source, "cloudevents-source", "", "what the source of CloudEvents begins with, for management clusters that share a sink")
	f.IntVar(&c.MetricsClusters, "metrics-clusters", fleetmetrics.DefaultClusters, "clusters that have metrics of their own; beyond that waves have")
	f.StringVar(&format, "log-format", "json", "json or text")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return cmd
}

// operatorLogger is observe.NewLogger with a choice of the format.
func operatorLogger(format, level string) (*slog.Logger, error) {
	log, err := observe.NewLogger(level)
	if err != nil || format == "json" {
		return log, err
	}
	if format != "text" {
		return nil, fmt.Errorf("--log-format is %q, want json or text", format)
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, err
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l})), nil
}
