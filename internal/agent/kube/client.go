// SPDX-License-Identifier: Apache-2.0

// Package kube makes clients of the API server that know one kind, and runs what watches it:
// the clientset of all kinds would be half of the agent's memory.
package kube

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Client returns a client for the kinds of these objects, an object and its list as a rule.
func Client(cfg *rest.Config, version schema.GroupVersion, kinds ...runtime.Object) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, metav1.Unversioned)
	metav1.AddToGroupVersion(scheme, version)
	scheme.AddKnownTypes(version, kinds...)
	own := rest.CopyConfig(cfg)
	own.APIPath = "/apis"
	if version.Group == "" {
		own.APIPath = "/api"
	}
	own.GroupVersion = &version
	own.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(own)
	if err != nil {
		return nil, fmt.Errorf("client of the API server for %s: %w", version, err)
	}
	return client, nil
}

// Run runs an informer until the context ends. It does not wait for the informer itself,
// which, while no API server answers, sits out a pause of up to 30 s first: an agent that is
// told to end has another one waiting.
func Run(ctx context.Context, informer cache.Controller) {
	ended := make(chan struct{})
	go func() { defer close(ended); informer.RunWithContext(ctx) }()
	select {
	case <-ctx.Done():
	case <-ended:
	}
}
