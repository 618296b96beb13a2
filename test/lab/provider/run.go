// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead-io/fairlead/test/lab/fleet"
)

const (
	// workers is how many objects of a kind are worked on at a time. Booting is bound by the processors.
	workers = 4
	// againAfter is how long to wait for a management cluster that is not there, or has gone.
	againAfter = 300 * time.Millisecond
)

// Run provides for the management cluster of a kubeconfig until the context ends. The file, the API
// server and the kinds may come later, and go.
func Run(ctx context.Context, kubeconfig string, host Host) error {
	ctrl.SetLogger(logr.FromSlogHandler(slog.Default().Handler()))
	said := ""
	for ctx.Err() == nil {
		err := runOnce(ctx, kubeconfig, host)
		if err != nil && err.Error() != said {
			said = err.Error()
			slog.Info("the provider waits", "for", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(againAfter):
		}
	}
	return nil
}

func runOnce(ctx context.Context, kubeconfig string, host Host) error {
	hub, err := fleet.RESTConfig(kubeconfig)
	if err != nil {
		return err
	}
	if err := kindsAreServed(hub); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	register(scheme)
	if err := clusterv1.AddToScheme(scheme); err != nil {
		return err
	}
	if err := corev1.AddToScheme(scheme); err != nil {
		return err
	}
	unchecked := true // Every run has the same controllers.
	m, err := manager.New(hub, manager.Options{
		Scheme: scheme, Metrics: server.Options{BindAddress: "0"},
		Client:     client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
		Controller: config.Controller{MaxConcurrentReconciles: workers, SkipNameValidation: &unchecked},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := controllers(ctx, m, host); err != nil {
		return err
	}
	slog.Info("the provider runs")
	return m.Start(ctx)
}

func kindsAreServed(config *rest.Config) error {
	api, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	for _, group := range []string{clusterv1.GroupVersion.Group, infrastructureGroup, bootstrapGroup, controlPlaneGroup} {
		if _, err := api.ServerResourcesForGroupVersion(group + "/" + kindVersion); err != nil {
			return fmt.Errorf("%s does not serve %s: %w", config.Host, group, err)
		}
	}
	return nil
}
