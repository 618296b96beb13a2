// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/matrix"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// eventually polls until check returns nil, and fails with its last error.
func eventually(t *testing.T, d time.Duration, what string, check func(ctx context.Context) error) {
	t.Helper()
	testkit.Eventually(t, d, what, check)
}

func hub(t *testing.T) client.Client { return clientOf(t, testkit.Hub) }

func clientOf(t *testing.T, cluster string) client.Client {
	t.Helper()
	c, err := lab.Client(cluster)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// fleetReady waits until the lab's stack is Ready.
func fleetReady(t *testing.T) {
	t.Helper()
	if err := testkit.WaitReady(within(t, 3*time.Minute), hub(t), testkit.StackName, func(s string) { t.Log(s) }); err != nil {
		t.Fatal(err)
	}
}

// connected asserts that every path of the clusters' matrices works.
func connected(t *testing.T, clusters ...string) {
	t.Helper()
	for _, cluster := range clusters {
		cells, err := lab.Matrix(within(t, 3*time.Minute), cluster, func(s string) { t.Log(s) })
		if err != nil {
			t.Fatal(err)
		}
		if len(cells) < 100 {
			t.Fatalf("%s: only %d paths were tried", cluster, len(cells))
		}
		for _, c := range matrix.Failed(cells) {
			t.Errorf("%s: %s %s %s from %s to %s: %s", cluster, c.Kind, c.Family, c.Proto, c.From, c.To, c.Error)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// condition returns an error until the ClusterStack's condition has the status and
// the message has every word.
func condition(c client.Client, cluster, kind string, status metav1.ConditionStatus, words ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		var cs fairlead.ClusterStack
		if err := c.Get(ctx, client.ObjectKey{Namespace: testkit.FleetNamespace, Name: cluster}, &cs); err != nil {
			return err
		}
		cond := meta.FindStatusCondition(cs.Status.Conditions, kind)
		if cond == nil {
			return fmt.Errorf("ClusterStack %s has no condition %s", cluster, kind)
		}
		for _, w := range words {
			if !strings.Contains(cond.Message, w) {
				return fmt.Errorf("condition %s says %q, want %q in it", kind, cond.Message, w)
			}
		}
		if cond.Status != status {
			return fmt.Errorf("condition %s is %s: %s", kind, cond.Status, cond.Message)
		}
		return nil
	}
}

// nodesOf returns the names of a cluster's nodes.
func nodesOf(t *testing.T, cluster string) []string {
	t.Helper()
	c, err := lab.Plan().Cluster(cluster)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range c.Nodes {
		names = append(names, m.Name)
	}
	return names
}

// traces lists what Fairlead could leave on a node.
func traces(t *testing.T, node string) []string {
	t.Helper()
	out, err := lab.Exec(within(t, time.Minute), node, "sh", "-c", `
ip -o link | grep -oE '(fl_vxlan|fl[0-9a-f]{6,})[^:@]*' | sed 's/^/link /'
ip route show table all | grep -E 'fl_vxlan|dev fl[0-9a-f]{6,}' | sed 's/^/route /'
ip -6 route show table all | grep -E 'fl_vxlan|dev fl[0-9a-f]{6,}' | sed 's/^/route /'
nft list tables | grep fairlead | sed 's/^/rules /'
for f in /sys/fs/bpf/fairlead* /var/lib/fairlead /run/fairlead /opt/cni/bin/fairlead* /etc/cni/net.d/*fairlead* /etc/cni/net.d/.*fairlead* /var/lib/cni/results/fairlead-*; do
  [ -e "$f" ] && echo "file $f"
done; true`)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(out), "\n")
}

// programs counts our programs in the kernel, those of all nodes together: nodes
// of the lab share one.
func programs() int {
	ours := []string{"from_pod", "to_pod", "from_overlay", "to_overlay"}
	count := 0
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if err != nil {
			return count
		}
		id = next
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // it ended meanwhile
		}
		if info, err := p.Info(); err == nil && slices.Contains(ours, info.Name) {
			count++
		}
		_ = p.Close()
	}
}
