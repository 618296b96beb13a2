// SPDX-License-Identifier: Apache-2.0

// Package discovery finds the cluster's controllers for the agent: it watches
// one EndpointSlice by name, the only object that an agent watches. What to do
// with the addresses, and keeping them for a start without an API server, is
// package sync's.
package discovery

import (
	"context"
	"net"
	"slices"
	"strconv"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// SliceName is the name of the EndpointSlice that the controllers keep.
const SliceName = "fairlead-controller"

// portName is the name of the controllers' xDS port in it.
const portName = "xds"

// Watch calls found with the addresses ("host:port", sorted) of the ready
// controllers, now and at every change, until the context ends. It does not call
// it with none: when the slice is empty or deleted, the last addresses are the
// best there are.
func Watch(ctx context.Context, client kubernetes.Interface, namespace string, found func([]string)) error {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0,
		informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, SliceName).String()
		}))
	update := func(obj any) {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
			if addresses := Addresses(slice); len(addresses) > 0 {
				found(addresses)
			}
		}
	}
	_, err := factory.Discovery().V1().EndpointSlices().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    update,
		UpdateFunc: func(_, obj any) { update(obj) },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	return nil
}

// Addresses returns the addresses of the endpoints that are ready, sorted.
func Addresses(slice *discoveryv1.EndpointSlice) []string {
	port := 0
	for _, p := range slice.Ports {
		if p.Name != nil && *p.Name == portName && p.Port != nil {
			port = int(*p.Port)
		}
	}
	if port == 0 {
		return nil
	}
	var out []string
	for _, e := range slice.Endpoints {
		if e.Conditions.Ready != nil && !*e.Conditions.Ready {
			continue
		}
		for _, a := range e.Addresses {
			out = append(out, net.JoinHostPort(a, strconv.Itoa(port)))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
