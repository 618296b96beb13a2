// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/matrix"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// quarantine is what the fleet's addresses rest for in these tests.
const quarantine = 25 * time.Second

// fleetPool has room for eight clusters.
const fleetPool = `
apiVersion: fairlead.io/v1alpha1
kind: FleetPool
metadata: {name: fleet, namespace: fleet}
spec:
  clusterIDs: {first: 1, last: 99}
  quarantine: 25s
  pools:
  - {name: pods, use: Pods, prefixes: [10.64.0.0/13, "fd00:64::/40"]}
  - {name: services, use: Services, prefixes: [10.96.0.0/16, "fd00:96::/100"]}
  - {name: lb, use: LoadBalancers, prefixes: [198.51.100.0/24]}
  classes:
  - name: default
    pods: {ipv4: 16, ipv6: 56}
    services: {ipv4: 20, ipv6: 112}
    loadBalancers: {ipv4: 28}
`

// networkStack gives every Cluster its network, of the past version.
const networkStack = `
apiVersion: fairlead.io/v1alpha1
kind: NetworkStack
metadata: {name: lab, namespace: fleet}
spec:
  version: ` + past + `
  allClusters: true
  driftPolicy: Report
  cni: {kubeProxyReplacement: Enabled}
  rollout:
    gates: {probes: Disabled}
    soak: 0s
    maxConcurrent: 100%
    agents: {minReadySeconds: 0}
`

// topology is a Cluster with a group of nodes that is upgraded last, "stay", and one that goes
// first, "go".
func topology(name, version string, stay, turn int) string {
	return fmt.Sprintf(`
apiVersion: cluster.x-k8s.io/v1beta2
kind: Cluster
metadata: {name: %s, namespace: fleet, labels: {environment: lab}}
spec:
  topology:
    classRef: {name: lab}
    version: %s
    workers:
      machineDeployments:
      - {class: worker, name: stay, replicas: %d, metadata: {annotations: {topology.cluster.x-k8s.io/defer-upgrade: ""}}}
      - {class: worker, name: turn, replicas: %d}
`, name, version, stay, turn)
}

func applyText(ctx context.Context, c client.Client, text string) error {
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		return err
	}
	return testkit.Apply(ctx, c, u)
}

// apply applies an object on the hub, again while Cluster API's webhooks are not there yet.
func apply(t *testing.T, text string) {
	t.Helper()
	testkit.Eventually(t, time.Minute, "applied", func(ctx context.Context) error { return applyText(ctx, hub(t), text) })
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

// startOperator runs an operator until the test ends.
func startOperator(t *testing.T) *testkit.OperatorProcess {
	t.Helper()
	fmt.Fprintf(operatorLog, "==== %s\n", t.Name()) //nolint:errcheck // a log
	host, _, _ := net.SplitHostPort(hooksAddress)
	p, err := lab.StartOperator(operatorLog, chartsDir(), "--leader-election=false", "--hooks-address="+hooksAddress, "--hooks-host="+host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func cluster(t *testing.T, name string) *clusterv1.Cluster {
	t.Helper()
	c := &clusterv1.Cluster{}
	if err := hub(t).Get(t.Context(), client.ObjectKey{Namespace: testkit.FleetNamespace, Name: name}, c); err != nil {
		t.Fatal(err)
	}
	return c
}

// holding is what a cluster holds, or held; nil for nothing.
func holding(ctx context.Context, t *testing.T, name string) *fairlead.Holding {
	t.Helper()
	p := &fairlead.FleetPool{}
	if err := hub(t).Get(ctx, client.ObjectKey{Namespace: testkit.FleetNamespace, Name: "fleet"}, p); err != nil {
		return nil
	}
	i := slices.IndexFunc(p.Status.Holdings, func(h fairlead.Holding) bool { return h.Cluster == name })
	if i < 0 {
		return nil
	}
	return &p.Status.Holdings[i]
}

// edit changes a Cluster.
func edit(t *testing.T, name string, change func(*clusterv1.Cluster)) {
	t.Helper()
	testkit.Eventually(t, time.Minute, "Cluster "+name+" is changed", func(ctx context.Context) error {
		c := &clusterv1.Cluster{}
		if err := hub(t).Get(ctx, client.ObjectKey{Namespace: testkit.FleetNamespace, Name: name}, c); err != nil {
			return err
		}
		old := c.DeepCopy()
		change(c)
		return hub(t).Patch(ctx, c, client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{}))
	})
}

// says waits until a condition of a Cluster says something.
func says(t *testing.T, d time.Duration, name, kind, text string) {
	t.Helper()
	testkit.Eventually(t, d, fmt.Sprintf("%s of Cluster %s says %q", kind, name, text), func(ctx context.Context) error {
		c := &clusterv1.Cluster{}
		if err := hub(t).Get(ctx, client.ObjectKey{Namespace: testkit.FleetNamespace, Name: name}, c); err != nil {
			return err
		}
		condition := meta.FindStatusCondition(c.Status.Conditions, kind)
		if condition == nil || !strings.Contains(condition.Message, text) {
			return fmt.Errorf("it is %+v", condition)
		}
		return nil
	})
}

// down kills an operator and waits until Cluster API has asked it in vain about a Cluster.
func down(t *testing.T, operator *testkit.OperatorProcess, name string) {
	t.Helper()
	operator.Kill()
	testkit.Eventually(t, time.Minute, "Cluster API asks about "+name+" in vain", func(ctx context.Context) error {
		c := &clusterv1.Cluster{}
		if err := hub(t).Get(ctx, client.ObjectKey{Namespace: testkit.FleetNamespace, Name: name}, c); err != nil {
			return err
		}
		condition := meta.FindStatusCondition(c.Status.Conditions, clusterv1.ClusterTopologyReconciledCondition)
		if condition == nil || condition.Reason != clusterv1.ClusterTopologyReconciledFailedReason {
			return fmt.Errorf("it is %+v", condition)
		}
		return nil
	})
}

// ready waits until a cluster's network is Ready at a version.
func ready(t *testing.T, d time.Duration, name, version string) {
	t.Helper()
	testkit.Eventually(t, d, "the network of "+name+" is Ready at "+version, func(ctx context.Context) error {
		cs := &fairlead.ClusterStack{}
		if err := hub(t).Get(ctx, client.ObjectKey{Namespace: testkit.FleetNamespace, Name: name}, cs); err != nil {
			return err
		}
		c := meta.FindStatusCondition(cs.Status.Conditions, fairlead.ConditionReady)
		if c == nil || c.Status != "True" || cs.Status.Proven == nil || cs.Status.Proven.Version != version {
			return fmt.Errorf("it is %+v", c)
		}
		return nil
	})
}

// kubelets waits until a cluster has so many Ready nodes, all with a version of Kubernetes; those
// of a group of machines only, if it is named.
func kubelets(t *testing.T, d time.Duration, name, group, version string, want int) []string {
	t.Helper()
	var names []string
	testkit.Eventually(t, d, fmt.Sprintf("%s has %d Ready nodes %s of %s", name, want, group, version), func(ctx context.Context) error {
		c, err := lab.Client(name)
		if err != nil {
			return err
		}
		var nodes corev1.NodeList
		if err := c.List(ctx, &nodes); err != nil {
			return err
		}
		names = nil
		var other []string
		for _, n := range nodes.Items {
			if group != "" && !strings.Contains(n.Name, "-"+group+"-") {
				continue
			}
			is := slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
				return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
			})
			if is && n.Status.NodeInfo.KubeletVersion == version && n.DeletionTimestamp.IsZero() && !n.Spec.Unschedulable {
				names = append(names, n.Name)
			} else {
				other = append(other, fmt.Sprintf("%s (%s, Ready %v)", n.Name, n.Status.NodeInfo.KubeletVersion, is))
			}
		}
		if len(names) != want || len(other) > 0 {
			return fmt.Errorf("there are %v and %v", names, other)
		}
		return nil
	})
	return names
}

// paths has every probe of a cluster reach all others.
func paths(t *testing.T, name string) {
	t.Helper()
	testkit.Eventually(t, 2*time.Minute, "probes of nodes that are gone are gone", func(ctx context.Context) error {
		var nodes corev1.NodeList
		var pods corev1.PodList
		c := clientOf(t, name)
		if err := errors.Join(c.List(ctx, &nodes), c.List(ctx, &pods, client.InNamespace(matrix.Namespace))); err != nil {
			return err
		}
		for _, p := range pods.Items {
			if p.Spec.NodeName != "" && !slices.ContainsFunc(nodes.Items, func(n corev1.Node) bool { return n.Name == p.Spec.NodeName }) {
				return fmt.Errorf("pod %s was on node %s", p.Name, p.Spec.NodeName)
			}
		}
		return nil
	})
	cells, err := lab.Matrix(testkit.Within(t, 3*time.Minute), name, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	if len(cells) == 0 {
		t.Fatal("no path was tried")
	}
	for _, c := range matrix.Failed(cells) {
		t.Errorf("%s over %s %s from %s to %s: %s", c.Kind, c.Family, c.Proto, c.From, c.To, c.Error)
	}
	t.Logf("%s: all %d paths work", name, len(cells))
}
