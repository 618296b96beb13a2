// SPDX-License-Identifier: Apache-2.0

// Package controllers_test runs the whole operator, as its command does, with the
// rights that its chart gives it: two real API servers, two operators, one lease.
package controllers_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/cmd/fairlead/operatorrun"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
)

// address is a free address of this machine.
func address(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it was only asked for its port
	return l.Addr().String()
}

// operator runs one operator; stop ends it and returns its error.
func operator(t *testing.T, hub *fleettest.Server) (health, metrics string, stop func() error) {
	t.Helper()
	health, metrics = address(t), address(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	log := slog.Handler(slog.DiscardHandler)
	if os.Getenv("TEST_LOGS") != "" {
		log = slog.NewTextHandler(os.Stderr, nil)
	}
	// Not by Run, which sets the process's logger, and here are two operators in one.
	mgr, err := operatorrun.New(ctx, operatorrun.Config{
		Kube: hub.Operator(), HealthAddress: health, MetricsAddress: metrics,
		LeaderElection: true, LeaderElectionNamespace: "fairlead-system",
		ImageRepository: "fairlead.io/fairlead", StackConcurrency: 2, ClusterConcurrency: 4, Connectors: 4,
		ReconnectInterval: time.Second, SkipNameValidation: true, Log: slog.New(log),
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { done <- mgr.Start(ctx) }()
	ended := false
	stop = func() error {
		if ended {
			return nil
		}
		ended = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("the operator ended with %v", err)
		}
	})
	return health, metrics, stop
}

func TestTheOperator(t *testing.T) {
	ctrl.SetLogger(logr.FromSlogHandler(slog.DiscardHandler))
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(40 * time.Second)
	g.SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	ctx := t.Context()
	hub, err := fleettest.Hub()
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { hub.Stop() }) //nolint:errcheck // the test is over
	work, err := fleettest.Workload()
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { work.Stop() }) //nolint:errcheck // the test is over

	health, metrics, stopFirst := operator(t, hub)
	get := func(url string) func() (string, error) {
		return func() (string, error) {
			resp, err := http.Get(url) //nolint:gosec // an address of this test
			if err != nil {
				return "", err
			}
			defer resp.Body.Close() //nolint:errcheck // read only
			b, err := io.ReadAll(resp.Body)
			return fmt.Sprint(resp.StatusCode, " ", string(b)), err
		}
	}
	g.Eventually(get("http://" + health + "/readyz")).Should(HavePrefix("200"))
	g.Eventually(get("http://" + metrics + "/metrics")).Should(ContainSubstring("controller_runtime_reconcile_total"))

	host, port := work.Endpoint()
	fleettest.CreateCluster(ctx, t, hub.Client, "default", "alpha", map[string]string{"environment": "lab"}, host, port)
	kubeconfig, err := work.AddUser("operator")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(hub.Client.Create(ctx, fleettest.KubeconfigSecret("default", "alpha", kubeconfig))).To(Succeed())
	g.Expect(hub.Client.Create(ctx, &v1alpha1.NetworkStack{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "lab"},
		Spec:       v1alpha1.NetworkStackSpec{ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{"environment": "lab"}}},
	})).To(Succeed())
	key := client.ObjectKey{Namespace: "default", Name: "alpha"}
	released := func() string {
		cs := &v1alpha1.ClusterStack{}
		if err := hub.Client.Get(ctx, key, cs); err != nil {
			return err.Error()
		}
		for _, c := range cs.Status.Conditions {
			if c.Type == v1alpha1.ConditionReleased {
				return string(c.Status) + " " + c.Message
			}
		}
		return ""
	}
	g.Eventually(released).Should(HavePrefix("True"))

	// The first operator goes; the second finds all as it was and acts.
	operator(t, hub)
	g.Expect(stopFirst()).To(Succeed())
	c := &clusterv1.Cluster{}
	g.Eventually(func() error {
		if err := hub.Client.Get(ctx, key, c); err != nil {
			return err
		}
		c.Labels = nil
		return hub.Client.Update(ctx, c)
	}).Should(Succeed())
	g.Eventually(func() bool {
		// No DaemonSet controller runs here: nobody has agents, so every node is clean.
		ns := &corev1.Namespace{}
		err := work.Client.Get(ctx, client.ObjectKey{Name: "fairlead-system"}, ns)
		return apierrors.IsNotFound(err) || ns.DeletionTimestamp != nil || cleaned(ctx, work)
	}).Should(BeTrue())
}

// cleaned plays the DaemonSet controller of a cluster without nodes.
func cleaned(ctx context.Context, work *fleettest.Server) bool {
	d, err := work.Agents(ctx)
	if err != nil {
		return false
	}
	if d.Status.ObservedGeneration < d.Generation {
		d.Status.ObservedGeneration = d.Generation
		_ = work.Client.Status().Update(ctx, d)
	}
	return false
}
