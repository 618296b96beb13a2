// SPDX-License-Identifier: Apache-2.0

package networkstack

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/onsi/gomega"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/internal/notify"
	"github.com/fairlead-io/fairlead/internal/stack"
)

const carried = "v0.1.0"

var hub *fleettest.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctrl.SetLogger(logr.FromSlogHandler(slog.DiscardHandler))
	var err error
	if hub, err = fleettest.Hub(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := hub.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// story is one test's namespace on the management cluster, with the reconciler
// running for the length of the test.
type story struct {
	*gomega.WithT
	t   *testing.T
	ctx context.Context
	ns  string
	// heard has the CloudEvents that were sent.
	heard *sink
}

// sink receives CloudEvents and keeps their types.
type sink struct {
	mu    sync.Mutex
	types []string
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.types = append(s.types, r.Header.Get("ce-type"))
	w.WriteHeader(http.StatusAccepted)
}

func (s *sink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.types)
}

func begin(t *testing.T) *story {
	t.Helper()
	// The clients of the test binary keep idle connections.
	leaks := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(context.Background())
	skip, priorities := true, false
	mgr, err := ctrl.NewManager(hub.Operator(), ctrl.Options{
		Scheme: hub.Client.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: &skip, UsePriorityQueue: &priorities},
	})
	if err != nil {
		t.Fatal(err)
	}
	heard := &sink{}
	server := httptest.NewServer(heard)
	notifier, err := notify.New(notify.Options{Sink: server.URL, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := mgr.Add(notifier); err != nil {
		t.Fatal(err)
	}
	if err := (&Reconciler{
		Notifier: notifier,
		Client:   mgr.GetClient(), Live: mgr.GetAPIReader(), Events: mgr.GetEventRecorder("fairlead-operator"), Now: time.Now,
		Versions: func() stack.Versions { return stack.Versions{Own: carried, Available: []string{"v0.2.0", carried}} },
	}).SetupWithManager(mgr); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the manager ended with %v", err)
		}
		server.Close()
		goleak.VerifyNone(t, leaks,
			// apimachinery's filtered watch does not end when its reader is gone.
			goleak.IgnoreAnyFunction("k8s.io/apimachinery/pkg/watch.(*filteredWatch).loop"),
			goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
			goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*ClientConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*http2ClientConn).readLoop"))
	})
	g := gomega.NewWithT(t)
	g.SetDefaultEventuallyTimeout(20 * time.Second)
	g.SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "s-"}}
	if err := hub.Client.Create(ctx, ns); err != nil {
		t.Fatal(err)
	}
	return &story{WithT: g, t: t, ctx: ctx, ns: ns.Name, heard: heard}
}

// stack is a NetworkStack that selects env=<env>.
func (s *story) stack(name, env string) *v1alpha1.NetworkStack {
	return &v1alpha1.NetworkStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name},
		Spec:       v1alpha1.NetworkStackSpec{ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{"env": env}}},
	}
}

func (s *story) create(o client.Object) {
	s.t.Helper()
	s.Expect(hub.Client.Create(s.ctx, o)).To(gomega.Succeed())
}

func (s *story) cluster(name, env string) {
	s.t.Helper()
	fleettest.CreateCluster(s.ctx, s.t, hub.Client, s.ns, name, map[string]string{"env": env}, "192.0.2.1", 6443)
}

// edit changes an object until it meets no conflict.
func edit[T client.Object](s *story, o T, change func(T)) {
	s.t.Helper()
	s.Eventually(func() error {
		if err := hub.Client.Get(s.ctx, client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		change(o)
		return hub.Client.Update(s.ctx, o)
	}).Should(gomega.Succeed())
}

// holders is "cluster=stack" for every ClusterStack that is not being deleted.
func (s *story) holders() []string {
	var l v1alpha1.ClusterStackList
	s.Expect(hub.Client.List(s.ctx, &l, client.InNamespace(s.ns))).To(gomega.Succeed())
	out := []string{}
	for _, c := range l.Items {
		if c.DeletionTimestamp == nil {
			out = append(out, c.Name+"="+c.Spec.NetworkStack)
		}
	}
	return out
}

func (s *story) clusterStack(name string) *v1alpha1.ClusterStack {
	return &v1alpha1.ClusterStack{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name}}
}

// status plays the part of controllers/clusterstack: it writes a ClusterStack's status.
func (s *story) status(name string, change func(*v1alpha1.ClusterStack)) {
	s.t.Helper()
	cs := s.clusterStack(name)
	s.Eventually(func() error {
		if err := hub.Client.Get(s.ctx, client.ObjectKeyFromObject(cs), cs); err != nil {
			return err
		}
		if cs.Status.Update.PlanDigest != cs.Spec.PlanDigest {
			cs.Status.Update = v1alpha1.UpdateStatus{PlanDigest: cs.Spec.PlanDigest, Phase: v1alpha1.UpdateUpdating}
		}
		change(cs)
		cs.Status.ObservedGeneration = cs.Generation
		return hub.Client.Status().Update(s.ctx, cs)
	}).Should(gomega.Succeed())
}

func setCondition(cs *v1alpha1.ClusterStack, kind string, status metav1.ConditionStatus, reason string) {
	meta.SetStatusCondition(&cs.Status.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: "message of " + reason})
}

// see says that a cluster answers and has no release of ours, and waits until it may begin.
func (s *story) see(name string) {
	s.t.Helper()
	s.status(name, func(cs *v1alpha1.ClusterStack) {
		setCondition(cs, v1alpha1.ConditionConnected, metav1.ConditionTrue, v1alpha1.ReasonConnected)
		cs.Status.Releases = []v1alpha1.ReleaseStatus{{Name: "fairlead-cni", State: "Absent"}}
	})
	s.Eventually(func() bool {
		cs := s.clusterStack(name)
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(cs), cs)).To(gomega.Succeed())
		return cs.Spec.AdoptOnly
	}).Should(gomega.BeFalse())
}

// report makes a ClusterStack ready, which is proven, or not.
func (s *story) report(name string, ready metav1.ConditionStatus, reason string) {
	s.t.Helper()
	s.see(name)
	s.status(name, func(cs *v1alpha1.ClusterStack) {
		cs.Status.Releases[0].State = "Current"
		setCondition(cs, v1alpha1.ConditionReady, ready, reason)
		if ready == metav1.ConditionTrue {
			cs.Status.Update.Phase = v1alpha1.UpdateProven
		}
		if p := cs.Status.Proven; ready == metav1.ConditionTrue && (p == nil || p.PlanDigest != cs.Spec.PlanDigest) {
			cs.Status.Previous = p
			cs.Status.Proven = &v1alpha1.ProvenStatus{Version: cs.Spec.Version, PlanDigest: cs.Spec.PlanDigest, CNI: cs.Spec.CNI}
		}
	})
}

// release plays the end of an uninstall.
func (s *story) release(name string) {
	s.t.Helper()
	cs := s.clusterStack(name)
	s.Eventually(func() bool {
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(cs), cs)).To(gomega.Succeed())
		return cs.DeletionTimestamp != nil
	}).Should(gomega.BeTrue())
	cs.Finalizers = nil
	s.Expect(hub.Client.Update(s.ctx, cs)).To(gomega.Succeed())
}

// condition is "Status/Reason: message" of one condition of a NetworkStack, "" when
// it is not there or speaks of another generation.
func (s *story) condition(name, kind string) func() string {
	return func() string {
		o := &v1alpha1.NetworkStack{}
		if err := hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: name}, o); err != nil {
			return err.Error()
		}
		for _, c := range o.Status.Conditions {
			if c.Type == kind && c.ObservedGeneration == o.Generation {
				return strings.Join([]string{string(c.Status), "/", c.Reason, ": ", c.Message}, "")
			}
		}
		return ""
	}
}
