// SPDX-License-Identifier: Apache-2.0

package controllerrun

import (
	"net/http"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/controllers/clusternetworkpolicy"
	"github.com/fairlead-io/fairlead/controllers/controllerslice"
	"github.com/fairlead-io/fairlead/controllers/endpointslice"
	"github.com/fairlead-io/fairlead/controllers/namespace"
	"github.com/fairlead-io/fairlead/controllers/networkpolicy"
	"github.com/fairlead-io/fairlead/controllers/node"
	"github.com/fairlead-io/fairlead/controllers/nodenetwork"
	"github.com/fairlead-io/fairlead/controllers/pod"
	"github.com/fairlead-io/fairlead/controllers/service"
)

func isController(namespace string) func(client.Object) bool {
	return func(o client.Object) bool { return controllerslice.IsController(namespace, o) }
}

// newManager makes a manager that starts without an API server and keeps only what
// is needed of each object.
func newManager(cfg Config) (manager.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, eventsv1.AddToScheme, discoveryv1.AddToScheme, authenticationv1.AddToScheme, v1alpha1.AddToScheme,
		networkingv1.AddToScheme, policyv1.Install,
	} {
		utilruntime.Must(add(scheme))
	}
	kube := rest.CopyConfig(cfg.Kube)
	kube.QPS, kube.Burst = 100, 200 // one status write a second and node at most, in bursts when many nodes change
	return ctrl.NewManager(kube, ctrl.Options{
		Scheme:                  scheme,
		Logger:                  logr.FromSlogHandler(cfg.Log.Handler()),
		MapperProvider:          func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return knownKinds(), nil },
		Metrics:                 metricsserver.Options{BindAddress: "0"}, // served beside health
		HealthProbeBindAddress:  "0",
		GracefulShutdownTimeout: new(grace),
		Controller: config.Controller{
			// An API server that is away for long is waited for, not given up on.
			CacheSyncTimeout: 365 * 24 * time.Hour,
			// Names are for metrics; several controllers may live in one test process.
			SkipNameValidation: new(true),
		},
		Cache: cache.Options{ByObject: map[client.Object]cache.ByObject{
			&corev1.Node{}:               {Transform: node.Transform},
			&corev1.Pod{}:                {Transform: pod.Transform(cfg.Namespace)},
			&v1alpha1.NodeNetwork{}:      {Transform: nodenetwork.Transform},
			&corev1.Service{}:            {Transform: service.Transform},
			&discoveryv1.EndpointSlice{}: slicesInCache(cfg),

			&corev1.Namespace{}:              {Transform: namespace.Transform},
			&networkingv1.NetworkPolicy{}:    {Transform: networkpolicy.Transform},
			&policyv1.ClusterNetworkPolicy{}: {Transform: clusternetworkpolicy.Transform},
		}},
	})
}

// slicesInCache are all EndpointSlices where Services are balanced, else the controllers' own.
func slicesInCache(cfg Config) cache.ByObject {
	if cfg.Services {
		return cache.ByObject{Transform: endpointslice.Transform}
	}
	return cache.ByObject{Namespaces: map[string]cache.Config{cfg.Namespace: {
		FieldSelector: fields.OneTermEqualSelector("metadata.name", controllerslice.Name),
	}}}
}

// knownKinds maps the few kinds that the controller uses, so that it need not ask
// an API server (which may be away) what it serves.
func knownKinds() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper([]schema.GroupVersion{
		corev1.SchemeGroupVersion, eventsv1.SchemeGroupVersion, discoveryv1.SchemeGroupVersion, authenticationv1.SchemeGroupVersion, v1alpha1.GroupVersion,
		networkingv1.SchemeGroupVersion, schema.GroupVersion(policyv1.GroupVersion),
	})
	m.Add(corev1.SchemeGroupVersion.WithKind("Node"), meta.RESTScopeRoot)
	m.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), meta.RESTScopeRoot)
	m.Add(networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"), meta.RESTScopeNamespace)
	m.Add(schema.GroupVersion(policyv1.GroupVersion).WithKind("ClusterNetworkPolicy"), meta.RESTScopeRoot)
	m.Add(corev1.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace)
	m.Add(corev1.SchemeGroupVersion.WithKind("Service"), meta.RESTScopeNamespace)
	m.Add(corev1.SchemeGroupVersion.WithKind("Event"), meta.RESTScopeNamespace)
	m.Add(eventsv1.SchemeGroupVersion.WithKind("Event"), meta.RESTScopeNamespace)
	m.Add(discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"), meta.RESTScopeNamespace)
	m.Add(authenticationv1.SchemeGroupVersion.WithKind("TokenReview"), meta.RESTScopeRoot)
	m.Add(v1alpha1.GroupVersion.WithKind("NodeNetwork"), meta.RESTScopeRoot)
	m.Add(v1alpha1.GroupVersion.WithKind("AddressPool"), meta.RESTScopeRoot)
	return m
}
