// SPDX-License-Identifier: Apache-2.0

// Package agent runs Fairlead on a node: it joins the stream from the controller
// (package sync), what is sent being brought into force (package node), the CNI
// server and the endpoints. It owns the process: start order, health, metrics,
// the plugin's installation and the cleaning of the node when Fairlead leaves.
package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// Config is what the agent is told by its command line.
type Config struct {
	NodeName    string // Node's name in the API server
	ClusterName string
	Namespace   string // where the controllers' EndpointSlice is

	StateDir  string // endpoints, the last state, certificate; survives restarts
	Socket    string // the CNI server's
	BPFFS     string // where bpffs is mounted
	TrustFile string // PEM bundle that controllers' certificates chain to
	TokenFile string // projected ServiceAccount token

	CNIPlugin  string // the plugin in the image, installed to CNIBinDir
	CNIBinDir  string
	CNIConfDir string

	HealthAddress string // loopback host:port of health, status and metrics
	StartedSocket string // unix socket, of the pod's own, that answers once the agent has started; empty: none

	Uplink     string // device to other nodes; empty: the one with the node's address
	Routing    datapath.Routing
	MTU        int    // of pods, bytes; 0: derived
	TunnelPort uint16 // UDP
	Masquerade bool
	// MasqueradeExceptions are prefixes outside of the cluster that see pods' own addresses.
	MasqueradeExceptions []string
	FlowEntries          int // connections that the node remembers: a power of two; 0: the default

	Services          bool // the node balances them, in kube-proxy's place
	ServiceForwarding datapath.ServiceForwarding
	ServiceFrontends  int // room for addresses and ports of Services; 0: the default
	ServiceBackends   int // room for their endpoints; 0: the default
	CgroupRoot        string

	Policies      bool          // the node enforces network policies
	PolicyEntries int           // room in each map of policies; 0: the default
	PolicyWait    time.Duration // how long an ADD waits for a pod's policies
	PeerWait      time.Duration // how long an ADD waits until others know the pod; 0: it does not
}

// Validate says which flag is missing or wrong.
func (c *Config) Validate() error {
	var errs []error
	for _, f := range []struct{ flag, value string }{
		{"--node-name (or NODE_NAME)", c.NodeName}, {"--cluster-name", c.ClusterName}, {"--namespace", c.Namespace},
		{"--state-dir", c.StateDir}, {"--socket", c.Socket}, {"--trust-bundle", c.TrustFile}, {"--token-file", c.TokenFile},
		{"--cni-bin-dir", c.CNIBinDir}, {"--cni-conf-dir", c.CNIConfDir}, {"--health", c.HealthAddress},
	} {
		if f.value == "" {
			errs = append(errs, fmt.Errorf("%s is empty; set it", f.flag))
		}
	}
	if c.MTU != 0 && (c.MTU < 1280 || c.MTU > 9216) {
		errs = append(errs, fmt.Errorf("--mtu is %d, want 0 (derived) or 1280 to 9216", c.MTU))
	}
	if c.Routing != "" && c.Routing != datapath.RoutingTunnel && c.Routing != datapath.RoutingNative {
		errs = append(errs, fmt.Errorf("--routing-mode is %q, want %s or %s", c.Routing, datapath.RoutingTunnel, datapath.RoutingNative))
	}
	if n := c.FlowEntries; n != 0 && (n < datapath.MinFlowEntries || n > datapath.MaxFlowEntries || n&(n-1) != 0) {
		errs = append(errs, fmt.Errorf("--flow-entries is %d, want a power of two from %d to %d", n, datapath.MinFlowEntries, datapath.MaxFlowEntries))
	}
	if f := c.ServiceForwarding; f != "" && f != datapath.ForwardSNAT && f != datapath.ForwardDSR {
		errs = append(errs, fmt.Errorf("--service-forwarding is %q, want %s or %s", f, datapath.ForwardSNAT, datapath.ForwardDSR))
	}
	for flag, n := range map[string]int{"--service-frontends": c.ServiceFrontends, "--service-backends": c.ServiceBackends} {
		if n != 0 && (n < datapath.MinServiceEntries || n > datapath.MaxServiceEntries) {
			errs = append(errs, fmt.Errorf("%s is %d, want %d to %d", flag, n, datapath.MinServiceEntries, datapath.MaxServiceEntries))
		}
	}
	if n := c.PolicyEntries; n != 0 && (n < datapath.MinPolicyEntries || n > datapath.MaxPolicyEntries) {
		errs = append(errs, fmt.Errorf("--policy-entries is %d, want %d to %d", n, datapath.MinPolicyEntries, datapath.MaxPolicyEntries))
	}
	if c.Policies && (c.PolicyWait <= 0 || c.PolicyWait > maxPolicyWait) {
		errs = append(errs, fmt.Errorf("--policy-wait is %s, want more than 0 and at most %s", c.PolicyWait, maxPolicyWait))
	}
	if c.PeerWait < 0 || c.PeerWait > maxPeerWait {
		errs = append(errs, fmt.Errorf("--peer-wait is %s, want 0 (no wait) to %s", c.PeerWait, maxPeerWait))
	}
	_, err := c.exceptions()
	return errors.Join(append(errs, err)...)
}

// Bounds of the waits of an ADD: the CNI server gives one 30 s altogether.
const (
	maxPolicyWait = 10 * time.Second
	maxPeerWait   = 10 * time.Second
)

// exceptions reads MasqueradeExceptions. Host bits are cleared: people write the address
// that they know of a network.
func (c *Config) exceptions() ([]netip.Prefix, error) {
	var out []netip.Prefix
	var errs []error
	for _, s := range c.MasqueradeExceptions {
		p, err := netip.ParsePrefix(s)
		if err != nil || p.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("--masquerade-exceptions has %q, want prefixes such as 192.0.2.0/24 or 2001:db8::/32", s))
			continue
		}
		out = append(out, p.Masked())
	}
	return out, errors.Join(errs...)
}

// options are the settings of the datapath.
func (c *Config) options(log *slog.Logger) (datapath.Options, error) {
	exceptions, err := c.exceptions()
	return datapath.Options{
		BPFFS: c.BPFFS, Uplink: c.Uplink, Routing: c.Routing, MTU: c.MTU, TunnelPort: c.TunnelPort,
		Masquerade: c.Masquerade, MasqueradeExceptions: exceptions, FlowEntries: c.FlowEntries, Log: log,
		Services: c.Services, ServiceForwarding: c.ServiceForwarding, ServiceFrontends: c.ServiceFrontends, ServiceBackends: c.ServiceBackends,
		CgroupRoot: c.CgroupRoot, Policies: c.Policies, PolicyEntries: c.PolicyEntries,
	}, err
}

// restartDelay is how long the agent stays up, saying why in its log and in
// /status, before it ends on a kernel that cannot carry it: a crash loop at full
// speed helps nobody.
const restartDelay = 5 * time.Second

// installPlugin copies the CNI plugin to the runtime's folder, as a whole.
func installPlugin(from, dir string) error {
	if from == "" {
		return nil
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("CNI plugin: %w", err)
	}
	to := dir + "/" + pluginName
	if err := os.WriteFile(to+".new", b, 0o755); err != nil {
		return fmt.Errorf("CNI plugin: %w", err)
	}
	if err := os.Rename(to+".new", to); err != nil {
		return fmt.Errorf("CNI plugin: %w", err)
	}
	return nil
}

// pluginName is the plugin's file name, and its type in the CNI configuration.
const pluginName = "fairlead-cni"
