// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// Versions that the lab is brought to: the one that all other tests run, the one after it,
// and one whose maps have another layout (the Makefile's NEXT and RELAID).
const (
	present = "v0.1.0"
	next    = "v0.1.1"
	relaid  = "v0.2.0"
)

// Layouts of the maps of present and relaid, as the nodes' file systems name them.
var (
	presentLayout = fmt.Sprintf("v%d", bpf.LayoutVersion)
	relaidLayout  = "v1000" // the Makefile's RELAID_LAYOUT
)

// everyNodeRuns returns an error until each NodeNetwork of the fleet reports a version.
func everyNodeRuns(version string) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, cluster := range lab.Clusters() {
			plan, err := lab.Plan().Cluster(cluster)
			if err != nil {
				return err
			}
			c, err := lab.Client(cluster)
			if err != nil {
				return err
			}
			var list fairlead.NodeNetworkList
			if err := c.List(ctx, &list); err != nil {
				return err
			}
			if len(list.Items) != len(plan.Nodes) {
				return fmt.Errorf("%s has %d NodeNetworks, want %d", cluster, len(list.Items), len(plan.Nodes))
			}
			for _, n := range list.Items {
				if v := n.Status.AgentVersion; v != version {
					return fmt.Errorf("node %s of %s runs %q, want %s", n.Name, cluster, v, version)
				}
			}
		}
		return nil
	}
}

// bringTo upgrades, or downgrades, the operator as a user does, and waits for what follows.
func bringTo(t *testing.T, version string) {
	t.Helper()
	if err := lab.InstallOperatorVersion(within(t, 2*time.Minute), version); err != nil {
		t.Fatal(err)
	}
	eventually(t, 3*time.Minute, "every node runs "+version, everyNodeRuns(version))
	fleetReady(t)
}

// layouts returns the layouts of the maps that are pinned on a node.
func layouts(t *testing.T, node string) string {
	t.Helper()
	out, err := lab.Exec(within(t, time.Minute), node, "sh", "-c", "cd /sys/fs/bpf/fairlead/maps && echo v*")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// TestBUpgradesUnderLoad: an upgrade, one to maps of another layout, and the downgrade
// from there lose no packet of any flow.
func TestBUpgradesUnderLoad(t *testing.T) {
	alpha := lab.Clusters()[0]
	for _, v := range []string{next, relaid} {
		if err := lab.LoadVersion(within(t, 2*time.Minute), v); err != nil {
			t.Fatal(err)
		}
	}
	// Whatever happens, the tests after this one find the version that they expect.
	restored(t, func(ctx context.Context) error { return lab.InstallOperatorVersion(ctx, present) })
	ends := deployLoad(t, alpha)
	for _, step := range []struct{ name, version, layout string }{
		{"to the next version", next, presentLayout},
		{"to maps of another layout", relaid, relaidLayout},
		{"back to the first version", present, presentLayout},
	} {
		ok := t.Run(step.name, func(t *testing.T) {
			losesNothing(t, alpha, ends, func(func(...string)) { bringTo(t, step.version) })
			for _, n := range nodesOf(t, alpha) {
				if got := layouts(t, n); got != step.layout {
					t.Errorf("%s has maps of layout %q, want %s alone", n, got, step.layout)
				}
			}
		})
		if !ok {
			return
		}
	}
}

// TestBRoutingUnderLoad: a stack's routing is changed while the network is in use.
func TestBRoutingUnderLoad(t *testing.T) {
	alpha := lab.Clusters()[0]
	ends := deployLoad(t, alpha)
	restored(t, func(ctx context.Context) error { return lab.SetRouting(ctx, fairlead.RoutingTunnel) })
	for _, mode := range []fairlead.RoutingMode{fairlead.RoutingNative, fairlead.RoutingTunnel} {
		ok := t.Run("to "+string(mode), func(t *testing.T) {
			losesNothing(t, alpha, ends, func(func(...string)) {
				if err := lab.SetRouting(within(t, time.Minute), mode); err != nil {
					t.Fatal(err)
				}
				fleetReady(t)
			})
			if got := routesOf(t, ends); got != mode {
				t.Errorf("pods are reached by %s, want %s", got, mode)
			}
			connected(t, alpha)
		})
		if !ok {
			return
		}
	}
}

// routesOf tells by the first node's routes how it reaches the pods of the second.
func routesOf(t *testing.T, ends testkit.Ends) fairlead.RoutingMode {
	t.Helper()
	out, err := lab.Exec(within(t, time.Minute), ends.OneA.Node, "ip", "route", "get", ends.TwoA.Addresses[0].String())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out, "fl_vxlan") {
		return fairlead.RoutingTunnel
	}
	return fairlead.RoutingNative
}
