// SPDX-License-Identifier: Apache-2.0

package provider_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/lab/fleet"
	"github.com/fairlead-io/fairlead/test/lab/plan"
	"github.com/fairlead-io/fairlead/test/lab/provider"
)

// The version of the API server, and one that the lab would have, too.
const (
	version     = plan.DefaultKubernetes
	nextVersion = "v1.35.5"
)

// played is a lab without machines: its nodes are objects that a kubelet would make.
type played struct {
	client     client.Client
	kubeconfig string
	content    []byte

	mu       sync.Mutex
	clusters map[string]*playedCluster
	deeds    map[string][]string // Removals of a cluster's parts, in their order.
}

type playedCluster struct {
	controlPlane provider.ControlPlane
	nodes        []string
	routed       int
}

func (p *played) with(cluster string, f func(*playedCluster)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clusters == nil {
		p.clusters = map[string]*playedCluster{}
	}
	if p.clusters[cluster] == nil {
		p.clusters[cluster] = &playedCluster{}
	}
	f(p.clusters[cluster])
}

func (p *played) did(cluster, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deeds == nil {
		p.deeds = map[string][]string{}
	}
	if !slices.Contains(p.deeds[cluster], what) { // Each may be asked for again.
		p.deeds[cluster] = append(p.deeds[cluster], what)
	}
}

func (p *played) forgetDeeds() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deeds = nil
}

func (p *played) deedsOf(cluster string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.deeds[cluster])
}

func (p *played) controlPlane(cluster string) (c provider.ControlPlane) {
	p.with(cluster, func(o *playedCluster) { c = o.controlPlane })
	return c
}

func (p *played) nodes(cluster string) (names []string) {
	p.with(cluster, func(o *playedCluster) { names = slices.Clone(o.nodes) })
	return names
}

func (p *played) routed(cluster string) (n int) {
	p.with(cluster, func(o *playedCluster) { n = o.routed })
	return n
}

func (p *played) Has(v string) bool { return v == version || v == nextVersion }

func (p *played) Reserve(_, _ string) (netip.AddrPort, error) {
	return netip.MustParseAddrPort("172.30.1.2:6443"), nil
}

func (p *played) Release(cluster string) error {
	p.did(cluster, "release")
	return nil
}

func (p *played) StartControlPlane(cluster string, c provider.ControlPlane) (provider.API, error) {
	p.with(cluster, func(o *playedCluster) { o.controlPlane = c })
	born := plan.New(plan.Settings{Dir: "/x", Kubernetes: version}).Born(plan.Birth{Name: cluster, Index: 1, PodCIDRs: c.Pods, ServiceCIDRs: c.Services})
	return provider.API{Cluster: born, Here: p.kubeconfig, Inside: p.content}, nil
}

func (p *played) RemoveControlPlane(cluster string) error {
	p.did(cluster, "remove-control-plane")
	return nil
}

func (p *played) StartNode(ctx context.Context, cluster, name, _ string) (plan.Machine, error) {
	m := plan.Machine{Name: name, Cluster: cluster, IPv4: netip.MustParseAddr("172.30.1.11"), IPv6: netip.MustParseAddr("fd00:30:1::b")}
	node := &corev1.Node{ObjectMeta: named(name), Spec: corev1.NodeSpec{ProviderID: m.ProviderID()}}
	err := p.client.Create(ctx, node)
	if apierrors.IsAlreadyExists(err) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	p.with(cluster, func(o *playedCluster) { o.nodes = append(o.nodes, name) })
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}}
	return m, p.client.Status().Update(ctx, node)
}

func (p *played) RemoveNode(cluster, name string) error {
	p.did(cluster, "remove-node")
	p.with(cluster, func(o *playedCluster) { o.nodes = slices.DeleteFunc(o.nodes, func(n string) bool { return n == name }) })
	return nil
}

func (p *played) RouteToPods(_ context.Context, cluster string, _ client.Client) error {
	p.with(cluster, func(o *playedCluster) { o.routed++ })
	return nil
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

// eventually waits for what the controllers bring about.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func change(t *testing.T, c client.Client, cluster *clusterv1.Cluster, f func()) {
	t.Helper()
	eventually(t, func() error { // Cluster API changes it, too.
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(cluster), cluster); err != nil {
			return err
		}
		f()
		return c.Update(t.Context(), cluster)
	})
}

// nodes says whether a number of nodes run, and Cluster API has found each of them.
func nodes(c client.Client, host *played, want int) error {
	machines := &clusterv1.MachineList{}
	if err := c.List(context.Background(), machines, client.MatchingLabels{clusterv1.ClusterNameLabel: "alpha"}); err != nil {
		return err
	}
	found := 0
	for _, m := range machines.Items {
		if m.Status.NodeRef.IsDefined() && m.DeletionTimestamp.IsZero() {
			found++
		}
	}
	if have := host.nodes("alpha"); len(machines.Items) != want || found != want || len(have) != want {
		return fmt.Errorf("%d Machines, %d with a node, nodes %v; want %d", len(machines.Items), found, have, want)
	}
	return nil
}

// says tells whether a cluster's control plane has a condition with a reason, and with a message that has a part.
func says(c client.Client, cluster, kind, reason, part string) error {
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("controlplane.cluster.x-k8s.io/v1beta2")
	list.SetKind("LabControlPlaneList")
	if err := c.List(context.Background(), list, client.MatchingLabels{clusterv1.ClusterNameLabel: cluster}); err != nil {
		return err
	}
	if len(list.Items) != 1 {
		return fmt.Errorf("%d LabControlPlanes", len(list.Items))
	}
	return condition(list.Items[0], kind, reason, part)
}

// machinesSay tells whether a cluster has two machines, and why they are not ready.
func machinesSay(c client.Client, cluster, reason string) error {
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("infrastructure.cluster.x-k8s.io/v1beta2")
	list.SetKind("LabMachineList")
	if err := c.List(context.Background(), list, client.MatchingLabels{clusterv1.ClusterNameLabel: cluster}); err != nil {
		return err
	}
	if len(list.Items) != 2 {
		return fmt.Errorf("%d LabMachines", len(list.Items))
	}
	return errors.Join(condition(list.Items[0], "Ready", reason, ""), condition(list.Items[1], "Ready", reason, ""))
}

func condition(o unstructured.Unstructured, kind, reason, part string) error {
	all, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, one := range all {
		c, ok := one.(map[string]any)
		if ok && c["type"] == kind && c["reason"] == reason && strings.Contains(fmt.Sprint(c["message"]), part) {
			return nil
		}
	}
	return fmt.Errorf("no condition %s with %s %q: %v", kind, reason, part, all)
}

func exists(c client.Client, kind, name string) error {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("apps/v1")
	o.SetKind(kind)
	return c.Get(context.Background(), client.ObjectKey{Namespace: "kube-system", Name: name}, o)
}

// gone says whether nothing of a cluster is left.
func gone(c client.Client, cluster *clusterv1.Cluster) error {
	err := c.Get(context.Background(), client.ObjectKeyFromObject(cluster), &clusterv1.Cluster{})
	if !apierrors.IsNotFound(err) {
		return errors.Join(err, errors.New("the Cluster is there"))
	}
	for _, kind := range []string{"infrastructure.cluster.x-k8s.io/LabCluster", "infrastructure.cluster.x-k8s.io/LabMachine", "bootstrap.cluster.x-k8s.io/LabConfig", "controlplane.cluster.x-k8s.io/LabControlPlane"} {
		group, name, _ := strings.Cut(kind, "/")
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion(group + "/v1beta2")
		list.SetKind(name + "List")
		if err := c.List(context.Background(), list, client.InNamespace(fleet.Namespace), client.MatchingLabels{clusterv1.ClusterNameLabel: cluster.Name}); err != nil {
			return err
		}
		if len(list.Items) > 0 {
			return fmt.Errorf("%d of kind %s are left", len(list.Items), name)
		}
	}
	return nil
}
