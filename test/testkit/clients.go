// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
)

// Client returns an uncached client of a cluster that knows every kind that the
// tests touch.
func (l *Lab) Client(cluster string) (client.Client, error) {
	cfg, err := l.REST(cluster)
	if err != nil {
		return nil, err
	}
	return clientFor(cfg)
}

func clientFor(cfg *rest.Config) (client.Client, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, discoveryv1.AddToScheme, networkingv1.AddToScheme, rbacv1.AddToScheme, clusterv1.AddToScheme, fairlead.AddToScheme} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return client.New(cfg, client.Options{Scheme: s})
}

// KubernetesVersion is the version that a cluster's API server says it has.
func (l *Lab) KubernetesVersion(ctx context.Context, cluster string) (string, error) {
	cfg, err := l.REST(cluster)
	if err != nil {
		return "", err
	}
	cfg.Timeout = 5 * time.Second
	api, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return "", err
	}
	raw, err := api.RESTClient().Get().AbsPath("/version").Do(ctx).Raw()
	if err != nil {
		return "", err
	}
	var info version.Info
	return info.GitVersion, errors.Join(json.Unmarshal(raw, &info))
}
