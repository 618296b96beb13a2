// SPDX-License-Identifier: Apache-2.0

// Package agent runs Fairlead on a node: it joins the stream from the controller
// (package sync), what is sent being brought into force (package node), the CNI
// server and the endpoints. It owns the process: start order, health, metrics,
// the plugin's installation and the cleaning of the node when Fairlead leaves.
package agent

import (
	"errors"
	"fmt"
	"os"
	"time"
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

	Uplink     string // device to other nodes; empty: the one with the node's address
	MTU        int    // of pods, bytes; 0: derived
	TunnelPort uint16 // UDP
	Masquerade bool
}

// Validate says which flag is missing.
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
	return errors.Join(errs...)
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
