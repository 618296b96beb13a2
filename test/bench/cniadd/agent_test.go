// SPDX-License-Identifier: Apache-2.0

package cniadd

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	agentsync "github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

type nobody struct{}

func (nobody) ApplyServices(context.Context, agentsync.ServiceUpdate) error { return nil }

func (nobody) ApplyPolicies(context.Context, agentsync.PolicyUpdate) error { return nil }

func (nobody) Apply(context.Context, agentsync.Update) error { return nil }

// TestAnAgentStartsOnTheSavedState: the file is written here and read by the agent's own
// code, which would start empty on one that it does not know.
func TestAnAgentStartsOnTheSavedState(t *testing.T) {
	dir := t.TempDir()
	m := &topo.Machine{
		Name:      "node-1",
		PodCIDRs:  []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:10:244:1::/64")},
		Addresses: []netip.Addr{netip.MustParseAddr("192.168.100.1"), netip.MustParseAddr("fd64::1:1")},
	}
	if err := saveState(dir, m, PodsHeld); err != nil {
		t.Fatal(err)
	}
	client, err := agentsync.New(agentsync.Config{
		NodeName: m.Name, ClusterName: clusterName, StateDir: dir, TokenFile: "none", RootsFile: "none",
	}, nobody{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.Load()
	if err != nil {
		t.Fatal(err)
	}
	if !got.Known.All() {
		t.Fatalf("types that are known: %+v, want all", got.Known)
	}
	if !slices.Equal(got.LocalNode.PodCidrs, text(m.PodCIDRs)) || !slices.Equal(got.LocalNode.Addresses, text(m.Addresses)) {
		t.Errorf("local node is %v", got.LocalNode)
	}
	if len(got.Peers) != 1 || len(got.Endpoints) != PodsHeld {
		t.Errorf("%d peers, %d endpoints, want 1 and %d", len(got.Peers), len(got.Endpoints), PodsHeld)
	}
}
