// SPDX-License-Identifier: Apache-2.0

package fleetpool

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/birth"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
)

// hub is the management cluster of every test.
var hub *fleettest.Server

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	var err error
	if hub, err = fleettest.Hub(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := hub.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// story is one test's namespace, with the reconciler running for the length of the test.
type story struct {
	*gomega.WithT
	t   *testing.T
	ctx context.Context
	ns  string
	// ahead is how many nanoseconds the reconciler's clock is ahead.
	ahead atomic.Int64
}

func begin(t *testing.T) *story {
	t.Helper()
	s := &story{WithT: gomega.NewWithT(t), t: t}
	s.SetDefaultEventuallyTimeout(20 * time.Second)
	s.SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithCancel(context.Background())
	s.ns = s.namespace()
	skip, priorities := true, false
	mgr, err := ctrl.NewManager(hub.Operator(), ctrl.Options{
		Scheme: hub.Client.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"},
		Cache:      cache.Options{},
		Controller: config.Controller{SkipNameValidation: &skip, UsePriorityQueue: &priorities},
	})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	now := func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }
	r := &Reconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Now: now,
		Giver: &birth.Giver{
			Ledger: &birth.Ledger{Live: mgr.GetAPIReader(), Cached: mgr.GetClient(), Writer: mgr.GetClient(), Now: now},
			Events: mgr.GetEventRecorder("fairlead-operator"),
		},
	}
	s.Expect(r.SetupWithManager(mgr)).To(gomega.Succeed())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(s.ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the manager ended with %v", err)
		}
		// The FleetPools of a fleet must not overlap: a test leaves none behind.
		var pools v1alpha1.FleetPoolList
		s.Expect(hub.Client.List(context.Background(), &pools)).To(gomega.Succeed())
		for i := range pools.Items {
			s.Expect(hub.Client.Delete(context.Background(), &pools.Items[i])).To(gomega.Succeed())
			s.Expect(hub.Client.DeleteAllOf(context.Background(), &clusterv1.Cluster{}, client.InNamespace(pools.Items[i].Namespace))).To(gomega.Succeed())
		}
	})
	return s
}

func (s *story) namespace() string {
	s.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "s-"}}
	s.Expect(hub.Client.Create(s.ctx, ns)).To(gomega.Succeed())
	return ns.Name
}

// pool creates a FleetPool with room for four clusters.
func (s *story) pool(ns, name string, change func(*v1alpha1.FleetPoolSpec)) {
	s.t.Helper()
	p := &v1alpha1.FleetPool{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: v1alpha1.FleetPoolSpec{
		ClusterIDs: v1alpha1.ClusterIDRange{First: 1, Last: 50},
		Pools:      []v1alpha1.FleetAddresses{{Name: "pods", Use: v1alpha1.AddressesForPods, Prefixes: []v1alpha1.Prefix{"10.64.0.0/14"}}},
		Classes:    []v1alpha1.ClusterClassSizes{{Name: "default", Pods: v1alpha1.PrefixLengths{IPv4: 16}}},
	}}
	change(&p.Spec)
	s.Expect(hub.Client.Create(s.ctx, p)).To(gomega.Succeed())
}

func asIs(*v1alpha1.FleetPoolSpec) {}

// cluster creates a Cluster without a topology.
func (s *story) cluster(name string, pods ...string) *clusterv1.Cluster {
	s.t.Helper()
	c := &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name}}
	c.Spec.InfrastructureRef = clusterv1.ContractVersionedObjectReference{APIGroup: "infrastructure.cluster.x-k8s.io", Kind: "LabCluster", Name: name}
	c.Spec.ClusterNetwork.Pods.CIDRBlocks = pods
	s.Expect(hub.Client.Create(s.ctx, c)).To(gomega.Succeed())
	return c
}

func (s *story) get(name string) *clusterv1.Cluster {
	s.t.Helper()
	c := &clusterv1.Cluster{}
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: name}, c)).To(gomega.Succeed())
	return c
}

// pods are a Cluster's ranges for pods.
func (s *story) pods(name string) func() []string {
	return func() []string { return s.get(name).Spec.ClusterNetwork.Pods.CIDRBlocks }
}

func (s *story) status(ns, name string) v1alpha1.FleetPoolStatus {
	p := &v1alpha1.FleetPool{}
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: ns, Name: name}, p)).To(gomega.Succeed())
	return p.Status
}

// condition is "status/reason: message" of a FleetPool's condition.
func (s *story) condition(ns, name, kind string) func() string {
	return func() string {
		c := meta.FindStatusCondition(s.status(ns, name).Conditions, kind)
		if c == nil {
			return ""
		}
		return fmt.Sprintf("%s/%s: %s", c.Status, c.Reason, c.Message)
	}
}
