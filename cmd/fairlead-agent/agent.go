// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-io/fairlead/internal/agent"
	"github.com/fairlead-io/fairlead/internal/cniapi"
	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/observe"
)

const (
	agentStateDir = "/var/lib/fairlead"
	agentRunDir   = "/run/fairlead"
	agentHealth   = "127.0.0.1:9442"
)

func newAgentCommand() *cobra.Command {
	var cfg agent.Config
	var level, kubeconfig string
	cmd := &cobra.Command{
		Use:   "fairlead-agent",
		Short: "Serve a node: CNI, addresses, eBPF datapath",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := observe.NewLogger(level)
			if err != nil {
				return err
			}
			if err := cfg.Validate(); err != nil {
				return err
			}
			kube, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			return agent.Run(cmd.Context(), cfg, kube, log)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.NodeName, "node-name", os.Getenv("NODE_NAME"), "name of this node's Node object (NODE_NAME)")
	f.StringVar(&cfg.ClusterName, "cluster-name", "", "name of the cluster, part of every identity")
	f.StringVar(&cfg.Namespace, "namespace", "fairlead-system", "namespace of the controllers")
	f.StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server; empty: as the pod's service account")
	f.StringVar(&cfg.StateDir, "state-dir", agentStateDir, "folder for what survives a restart")
	f.StringVar(&cfg.Socket, "socket", cniapi.DefaultSocket, "unix socket for the CNI plugin")
	f.StringVar(&cfg.BPFFS, "bpffs", datapath.DefaultBPFFS, "where the BPF file system is mounted")
	f.StringVar(&cfg.TrustFile, "trust-bundle", "", "PEM file with the roots that controllers' certificates chain to")
	f.StringVar(&cfg.TokenFile, "token-file", "", "projected ServiceAccount token with audience fairlead-controller")
	f.StringVar(&cfg.CNIPlugin, "cni-plugin", "/fairlead-cni", "the CNI plugin to install; empty: it is installed already")
	f.StringVar(&cfg.CNIBinDir, "cni-bin-dir", "/opt/cni/bin", "where the container runtime looks for plugins")
	f.StringVar(&cfg.CNIConfDir, "cni-conf-dir", "/etc/cni/net.d", "where the container runtime looks for configuration")
	f.StringVar(&cfg.HealthAddress, "health", agentHealth, "address of /healthz, /readyz, /status and /metrics")
	f.StringVar(&cfg.StartedSocket, "started-socket", "", "unix socket that answers once this agent serves the node or stands by; empty: none")
	f.StringVar(&cfg.Uplink, "uplink", "", "device to other nodes; empty: the one with the node's address")
	f.StringVar((*string)(&cfg.Routing), "routing-mode", string(datapath.RoutingTunnel), "how packets reach pods of other nodes: Tunnel (VXLAN) or Native (the network between nodes routes pod ranges)")
	f.IntVar(&cfg.MTU, "mtu", 0, "MTU of pods in bytes; 0: the uplink's, less the tunnel's overhead with --routing-mode=Tunnel")
	f.Uint16Var(&cfg.TunnelPort, "tunnel-port", datapath.DefaultTunnelPort, "UDP port of the VXLAN tunnel")
	f.BoolVar(&cfg.Masquerade, "masquerade", true, "give pods' traffic to the outside the node's address")
	f.StringSliceVar(&cfg.MasqueradeExceptions, "masquerade-exceptions", nil, "comma-separated prefixes of the outside that see pods' own addresses")
	f.IntVar(&cfg.FlowEntries, "flow-entries", datapath.DefaultFlowEntries, "connections that the node remembers the way of: a power of two, 128 bytes each")
	f.BoolVar(&cfg.Services, "services", false, "balance Services on this node, in kube-proxy's place")
	f.StringVar((*string)(&cfg.ServiceForwarding), "service-forwarding", string(datapath.ForwardSNAT), "how connections from outside reach a Service's pods on other nodes: SNAT (under this node's address) or DSR (under the client's; the other node answers it)")
	f.IntVar(&cfg.ServiceFrontends, "service-frontends", datapath.DefaultServiceFrontends, "room for addresses and ports of Services")
	f.IntVar(&cfg.ServiceBackends, "service-backends", datapath.DefaultServiceBackends, "room for endpoints of Services")
	f.StringVar(&cfg.CgroupRoot, "cgroup-root", "", "cgroup (version 2) of all processes that Services are balanced for; empty: the root of the one mounted at or below /sys/fs/cgroup")
	f.BoolVar(&cfg.Policies, "policies", false, "enforce network policies on this node's pods")
	f.IntVar(&cfg.PolicyEntries, "policy-entries", datapath.DefaultPolicyEntries, "rows that each map of policies has room for, about 100 bytes each once it is used")
	f.DurationVar(&cfg.PolicyWait, "policy-wait", 5*time.Second, "how long a new pod of a namespace with network policies may wait until those that select it are known; then the runtime tries again")
	f.DurationVar(&cfg.PeerWait, "peer-wait", 500*time.Millisecond, "how long a new pod that network policies name may wait until the nodes of these know its addresses; 0: not at all")
	cmd.PersistentFlags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	cmd.AddCommand(newAgentCleanupCommand(&level), newAgentMountCommand(&level), newAgentStartedCommand(), newProbeCommand(&level))
	return cmd
}

func newAgentMountCommand(level *string) *cobra.Command {
	var opts datapath.Options
	cmd := &cobra.Command{
		Use:   "mount-bpffs",
		Short: "Mount a BPF file system on the node unless it has one",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) (err error) {
			if opts.Log, err = observe.NewLogger(*level); err != nil {
				return err
			}
			return datapath.MountBPFFS(opts)
		},
	}
	cmd.Flags().StringVar(&opts.BPFFS, "bpffs", datapath.DefaultBPFFS, "where the BPF file system is, or will be, mounted")
	return cmd
}

// newAgentStartedCommand is what the kubelet starts in the pod: health's address does not
// tell which pod's agent answers.
func newAgentStartedCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "started SOCKET",
		Short: "Say whether the agent of this pod has started: whether it serves the node or stands by",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return agent.Started(cmd.Context(), args[0]) },
	}
}

func newAgentCleanupCommand(level *string) *cobra.Command {
	cfg := agent.CleanupConfig{StateDir: agentStateDir, RunDir: agentRunDir}
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove everything of Fairlead's from this node, then stay ready until ended",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := observe.NewLogger(*level)
			if err != nil {
				return err
			}
			return agent.RunCleanup(cmd.Context(), cfg, log)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.HostRoot, "host-root", "/", "where the node's root folder is mounted")
	f.StringVar(&cfg.BPFFS, "bpffs", datapath.DefaultBPFFS, "where the BPF file system is mounted")
	f.StringVar(&cfg.CNIBinDir, "cni-bin-dir", "/opt/cni/bin", "where the container runtime looks for plugins")
	f.StringVar(&cfg.CNIConfDir, "cni-conf-dir", "/etc/cni/net.d", "where the container runtime looks for configuration")
	f.StringVar(&cfg.HealthAddress, "health", agentHealth, "address of /readyz")
	return cmd
}
