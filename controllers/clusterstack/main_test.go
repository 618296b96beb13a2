// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/onsi/gomega"
	"go.uber.org/goleak"
	"helm.sh/helm/v3/pkg/storage"
	"helm.sh/helm/v3/pkg/storage/driver"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/charts"
	"github.com/fairlead-io/fairlead/internal/fleet"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/internal/release"
	"github.com/fairlead-io/fairlead/internal/trust"
)

const carried = "v0.1.0"

// hub is the management cluster, work the workload cluster of every test.
var hub, work *fleettest.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	log := logr.FromSlogHandler(slog.DiscardHandler)
	if os.Getenv("TEST_LOGS") != "" {
		log = logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, nil))
	}
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	for _, s := range []struct {
		at    **fleettest.Server
		start func() (*fleettest.Server, error)
	}{{&hub, fleettest.Hub}, {&work, fleettest.Workload}} {
		server, err := s.start()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		*s.at = server
		defer server.Stop() //nolint:errcheck // the process ends here
	}
	return m.Run()
}

// story is one test's namespace on the management cluster, with the reconciler
// running for the length of the test.
type story struct {
	*gomega.WithT
	t   *testing.T
	ctx context.Context
	ns  string
	now func() time.Time
	// probes are those of the workload cluster, nil for none.
	probes Probes
	// charts is the operator's folder of charts, "" for none.
	charts string
}

func begin(t *testing.T) *story { return beginWith(t, func(*story) {}) }

// beginWith is begin with something set before the reconciler starts.
func beginWith(t *testing.T, set func(*story)) *story {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	s := &story{WithT: gomega.NewWithT(t), t: t, now: time.Now}
	set(s)
	s.SetDefaultEventuallyTimeout(30 * time.Second)
	s.SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithCancel(context.Background())
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "s-"}}
	s.Expect(hub.Client.Create(s.ctx, ns)).To(gomega.Succeed())
	s.ns = ns.Name
	done := make(chan error, 1)
	mgr := s.manager()
	go func() { done <- mgr.Start(s.ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the manager ended with %v", err)
		}
		// Idle connections of the clients stay for others.
		goleak.VerifyNone(t, leaks,
			// apimachinery's filtered watch does not end when its reader is gone.
			goleak.IgnoreAnyFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"),
			goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
			goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*ClientConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*http2ClientConn).readLoop"))
		s.wipe()
	})
	return s
}

func (s *story) manager() ctrl.Manager {
	secrets, err := fleet.HubSecrets()
	s.Expect(err).NotTo(gomega.HaveOccurred())
	skip, priorities := true, false
	mgr, err := ctrl.NewManager(hub.Operator(), ctrl.Options{
		Scheme:  hub.Client.Scheme(),
		Metrics: metricsserver.Options{BindAddress: "0"},
		// Each test serves its own namespace: those before it left Clusters behind.
		Cache:      cache.Options{ByObject: secrets, DefaultNamespaces: map[string]cache.Config{s.ns: {}}},
		Controller: config.Controller{SkipNameValidation: &skip, UsePriorityQueue: &priorities},
	})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	f, err := fleet.Setup(s.ctx, mgr, fleet.Options{Retry: time.Second, Cached: CachedObjects(), SkipNameValidation: true})
	s.Expect(err).NotTo(gomega.HaveOccurred())
	chart, err := release.LoadChart(charts.CNI, charts.CNIRoot)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	r := &Reconciler{
		Client: mgr.GetClient(), Events: mgr.GetEventRecorder("fairlead-operator"), Fleet: f, Charts: release.NewCatalogue(carried, chart, s.charts, slog.New(slog.DiscardHandler)), ImageRepository: "fairlead.io/fairlead",
		Roots:     &trust.Store{Reader: mgr.GetAPIReader(), Writer: mgr.GetClient(), Now: s.now},
		Discovery: &release.Discovery{}, Now: s.now,
		NewProbes: func(*rest.Config) (Probes, error) { return s.probes, nil },
	}
	s.Expect(r.SetupWithManager(mgr)).To(gomega.Succeed())
	return mgr
}

// wipe brings the workload cluster back to nothing for the next test.
func (s *story) wipe() {
	ctx := context.Background()
	for _, o := range []client.Object{&appsv1.DaemonSet{}, &appsv1.Deployment{}, &corev1.Secret{}, &corev1.ConfigMap{}, &corev1.ServiceAccount{}, &corev1.Pod{}} {
		s.Expect(work.Client.DeleteAllOf(ctx, o, client.InNamespace(Namespace), client.GracePeriodSeconds(0))).To(gomega.Succeed())
	}
	for _, o := range []client.Object{&appsv1.DaemonSet{}, &corev1.ConfigMap{}} {
		s.Expect(work.Client.DeleteAllOf(ctx, o, client.InNamespace(kubeProxyNamespace), client.GracePeriodSeconds(0))).To(gomega.Succeed())
	}
	s.Expect(work.Client.DeleteAllOf(ctx, &corev1.Node{})).To(gomega.Succeed())
	err := work.Client.DeleteAllOf(ctx, &v1alpha1.NodeNetwork{})
	if err != nil && !apierrors.IsNotFound(err) && client.IgnoreNotFound(err) != nil {
		s.t.Logf("NodeNetworks: %v", err)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}}
	s.Expect(client.IgnoreNotFound(work.Client.Delete(ctx, ns))).To(gomega.Succeed())
	s.Eventually(s.finalizeNamespace).Should(gomega.BeTrue())
}

// finalizeNamespace plays the namespace controller, which these API servers lack:
// it lets our namespace go once it is being deleted, and says whether it is gone.
func (s *story) finalizeNamespace() bool {
	ctx := context.Background()
	ns := &corev1.Namespace{}
	err := work.Client.Get(ctx, client.ObjectKey{Name: Namespace}, ns)
	if apierrors.IsNotFound(err) {
		return true
	}
	s.Expect(err).NotTo(gomega.HaveOccurred())
	if ns.DeletionTimestamp == nil {
		return false
	}
	cs, err := kubernetes.NewForConfig(work.Config)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	ns.Spec.Finalizers = nil
	_, err = cs.CoreV1().Namespaces().Finalize(ctx, ns, metav1.UpdateOptions{})
	return apierrors.IsNotFound(err)
}

// networkStack creates the NetworkStack that holds the ClusterStacks.
func (s *story) networkStack() *v1alpha1.NetworkStack {
	n := &v1alpha1.NetworkStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "lab"},
		Spec:       v1alpha1.NetworkStackSpec{AllClusters: true},
	}
	s.Expect(hub.Client.Create(s.ctx, n)).To(gomega.Succeed())
	return n
}

// clusterStack creates the ClusterStack of a Cluster.
func (s *story) clusterStack(name string, changes ...func(*v1alpha1.ClusterStackSpec)) *v1alpha1.ClusterStack {
	yes := true
	cs := &v1alpha1.ClusterStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name, Finalizers: []string{v1alpha1.ClusterStackFinalizer}},
		Spec: v1alpha1.ClusterStackSpec{
			NetworkStack: "lab", ClusterName: name, Version: carried, PlanDigest: "p",
			CNI: v1alpha1.CNISpec{Tunnel: v1alpha1.TunnelSpec{Port: 8472}, Masquerade: &yes},
			// No kubelet runs pods of probes here.
			Gates: v1alpha1.GatesSpec{Probes: v1alpha1.ProbesDisabled},
		},
	}
	for _, change := range changes {
		change(&cs.Spec)
	}
	s.Expect(hub.Client.Create(s.ctx, cs)).To(gomega.Succeed())
	return cs
}

// alpha is a Cluster at the workload cluster, with its kubeconfig.
func (s *story) alpha() {
	s.connectable(nil)
}

// connectable is alpha with a reference to its control plane; nil for none.
func (s *story) connectable(controlPlane *clusterv1.ContractVersionedObjectReference) {
	host, port := work.Endpoint()
	c := fleettest.CreateCluster(s.ctx, s.t, hub.Client, s.ns, "alpha", nil, host, port)
	if controlPlane != nil {
		c.Spec.ControlPlaneRef = *controlPlane
		s.Expect(hub.Client.Update(s.ctx, c)).To(gomega.Succeed())
	}
	kubeconfig, err := work.AddUser("fairlead-operator")
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.Expect(hub.Client.Create(s.ctx, fleettest.KubeconfigSecret(s.ns, "alpha", kubeconfig))).To(gomega.Succeed())
}

// condition is "Status/Reason: message" of one condition of a ClusterStack.
func (s *story) condition(name, kind string) func() string {
	return func() string {
		o := &v1alpha1.ClusterStack{}
		if err := hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: name}, o); err != nil {
			return err.Error()
		}
		for _, c := range o.Status.Conditions {
			if c.Type == kind {
				return string(c.Status) + "/" + c.Reason + ": " + c.Message
			}
		}
		return ""
	}
}

// node creates a Node.
func (s *story) node(name string) {
	s.Expect(work.Client.Create(s.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})).To(gomega.Succeed())
}

// acknowledge plays the cluster's controller: it reports a node's agent.
func (s *story) acknowledge(name, version string, ready metav1.ConditionStatus, reason string) {
	s.t.Helper()
	n := &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: name}}
	s.Eventually(func() error {
		err := work.Client.Get(s.ctx, client.ObjectKey{Name: name}, n)
		if apierrors.IsNotFound(err) {
			err = work.Client.Create(s.ctx, n)
		}
		if err != nil {
			return err
		}
		n.Status.AgentVersion = version
		n.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: ready, Reason: reason, LastTransitionTime: metav1.Now()}}
		return work.Client.Status().Update(s.ctx, n)
	}).Should(gomega.Succeed())
}

// runAgents plays the DaemonSet controller with all agents up to date and available.
func (s *story) runAgents(n int32) {
	s.t.Helper()
	d := &appsv1.DaemonSet{}
	s.Eventually(func() error {
		if err := work.Client.Get(s.ctx, client.ObjectKey{Namespace: Namespace, Name: agentName}, d); err != nil {
			return err
		}
		d.Status = appsv1.DaemonSetStatus{ObservedGeneration: d.Generation, DesiredNumberScheduled: n, CurrentNumberScheduled: n, UpdatedNumberScheduled: n, NumberAvailable: n, NumberReady: n}
		return work.Client.Status().Update(s.ctx, d)
	}).Should(gomega.Succeed())
}

// runController plays the Deployment controller with one replica available.
func (s *story) runController() {
	s.t.Helper()
	d := &appsv1.Deployment{}
	s.Eventually(func() error {
		if err := work.Client.Get(s.ctx, client.ObjectKey{Namespace: Namespace, Name: controllerName}, d); err != nil {
			return err
		}
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 1, ReadyReplicas: 1}
		return work.Client.Status().Update(s.ctx, d)
	}).Should(gomega.Succeed())
}

// running brings alpha to Ready with two nodes.
func (s *story) running() {
	s.t.Helper()
	s.networkStack()
	s.alpha()
	s.node("n1")
	s.node("n2")
	s.clusterStack("alpha")
	s.runController()
	s.runAgents(2)
	s.acknowledge("n1", carried, metav1.ConditionTrue, "Synced")
	s.acknowledge("n2", carried, metav1.ConditionTrue, "Synced")
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(gomega.HavePrefix("True/AllNodesAcknowledged: 2 of 2 nodes"))
}

func itoa(n int64) string { return fmt.Sprint(n) }

// interrupt marks the newest revision of the release as begun and not ended.
func (s *story) interrupt() {
	s.t.Helper()
	cs, err := kubernetes.NewForConfig(work.Config)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	releases := storage.Init(driver.NewSecrets(cs.CoreV1().Secrets(Namespace)))
	rel, err := releases.Last(releaseName)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	rel.Info.Status = "pending-install"
	s.Expect(releases.Update(rel)).To(gomega.Succeed())
}
