// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/continuity"
	"github.com/fairlead-io/fairlead/test/lab/fleet"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// steady is a load on a Service whose connections live through all that happens to it. New
// connections are for others: while kube-proxy translates, a new one may be given the source
// port of one of these, which it knows nothing of, and both end.
var steady = continuity.Config{Flows: 100, Rest: time.Second, DatagramRate: 200}

// TestBServicesChangeHandsUnderLoad: Services are handed to a kube-proxy that comes, but not
// before it runs, and taken over from it again. Nobody who uses them notices, but for those
// whose packets were translated one by one: kube-proxy knows nothing of their connections,
// each of which ends once.
func TestBServicesChangeHandsUnderLoad(t *testing.T) {
	alpha := lab.Clusters()[0]
	ends := deployLoad(t, alpha)
	if err := lab.DeployWeb(within(t, time.Minute), alpha, 4); err != nil {
		t.Fatal(err)
	}
	rolledOut(t, alpha)
	restored(t, func(ctx context.Context) error { return replaceKubeProxy(ctx, alpha, true) })

	asked := startRequests(t, alpha, webClients(t, alpha, ends), 200, "kept", "new")
	paths := []path{
		{"Service across nodes, IPv4", ends.TwoA, ends.Service[0], steady},
		{"Service on the node, IPv6", ends.OneA, ends.Service[1], steady},
	}
	for name, r := range underLoad(t, alpha, paths, func(await func(names ...string)) { changeHands(t, alpha, await) }) {
		if err := r.Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, r := range stopRequests(t, asked) {
		allowed := 0
		if strings.Contains(name, "NodePort") && strings.Contains(name, "kept") {
			allowed = r.Connections
		}
		if r.Failed > allowed {
			t.Errorf("%s: %d of %d failed: %v", name, r.Failed, r.Sent, r.Errors)
		}
	}
}

// changeHands has a cluster's Services go to kube-proxy and come back.
func changeHands(t *testing.T, cluster string, await func(names ...string)) {
	t.Helper()
	if err := replaceKubeProxy(within(t, time.Minute), cluster, false); err != nil {
		t.Fatal(err)
	}
	removed(t, cluster, fairlead.ReasonKubeProxyMissing)
	await()

	plan, err := lab.Plan().Cluster(cluster)
	if err != nil {
		t.Fatal(err)
	}
	api, err := fleet.NewClient(lab.Plan().Kubeconfig(cluster))
	if err != nil {
		t.Fatal(err)
	}
	if err := fleet.KubeProxy(within(t, time.Minute), api, plan); err != nil {
		t.Fatal(err)
	}
	removed(t, cluster, "")
	fleetReady(t)
	await()

	if err := replaceKubeProxy(within(t, time.Minute), cluster, true); err != nil {
		t.Fatal(err)
	}
	removed(t, cluster, fairlead.ReasonKubeProxyAbsent)
	fleetReady(t)
	for _, n := range plan.Nodes {
		eventually(t, 3*time.Minute, n.Name+" has no rules of kube-proxy", func(ctx context.Context) error {
			rules, err := lab.Exec(ctx, n.Name, "sh", "-c", "nft list tables; iptables-save; ip6tables-save")
			for _, of := range []string{"kube-proxy", "KUBE-SERVICES", "KUBE-SVC-"} {
				if err == nil && strings.Contains(rules, of) {
					err = fmt.Errorf("there is %s in\n%s", of, rules)
				}
			}
			return err
		})
	}
	await()
}

// replaceKubeProxy has the lab's stack replace a cluster's kube-proxy, as it does for all
// clusters, or not.
func replaceKubeProxy(ctx context.Context, cluster string, is bool) error {
	c, err := lab.Client(testkit.Hub)
	if err != nil {
		return err
	}
	const label = "services"
	object := &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: testkit.FleetNamespace, Name: cluster}}
	labelled := fmt.Sprintf(`{"metadata":{"labels":{%q:"by-kube-proxy"}}}`, label)
	if err := c.Patch(ctx, object, client.RawPatch("application/merge-patch+json", []byte(labelled))); err != nil {
		return err
	}
	overrides := `[]`
	if !is {
		overrides = fmt.Sprintf(`[{"name":"kube-proxy","clusterSelector":{"matchLabels":{%q:"by-kube-proxy"}},"cni":{"kubeProxyReplacement":"Disabled"}}]`, label)
	}
	s := &fairlead.NetworkStack{ObjectMeta: metav1.ObjectMeta{Namespace: testkit.FleetNamespace, Name: testkit.StackName}}
	return c.Patch(ctx, s, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"overrides":`+overrides+`}}`)))
}

// removed waits until the condition KubeProxyRemoved of a cluster has a reason; "" is for no
// such condition.
func removed(t *testing.T, cluster, reason string) {
	t.Helper()
	eventually(t, 3*time.Minute, "KubeProxyRemoved of "+cluster+" is "+reason, func(ctx context.Context) error {
		var cs fairlead.ClusterStack
		if err := hub(t).Get(ctx, client.ObjectKey{Namespace: testkit.FleetNamespace, Name: cluster}, &cs); err != nil {
			return err
		}
		got := ""
		if c := meta.FindStatusCondition(cs.Status.Conditions, fairlead.ConditionKubeProxyRemoved); c != nil {
			got = c.Reason
		}
		if got != reason {
			return fmt.Errorf("it is %q: %+v", got, cs.Status.Conditions)
		}
		return nil
	})
}
