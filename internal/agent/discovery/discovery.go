// SPDX-License-Identifier: Apache-2.0

// Package discovery finds the cluster's controllers for the agent: it watches
// one EndpointSlice by name, the only object that an agent watches while a
// controller answers. What to do with the addresses, and keeping them for a start
// without an API server, is package sync's.
package discovery

import (
	"context"
	"net"
	"slices"
	"strconv"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/fairlead-io/fairlead/internal/agent/kube"
)

// SliceName is the name of the EndpointSlice that the controllers keep.
const SliceName = "fairlead-controller"

// portName is the name of the controllers' xDS port in it.
const portName = "xds"

// Watch calls found with the addresses ("host:port", sorted) of the ready
// controllers, now and at every change, until the context ends. It does not call
// it with none: when the slice is empty or deleted, the last addresses are the
// best there are.
func Watch(ctx context.Context, cfg *rest.Config, namespace string, found func([]string)) error {
	client, err := kube.Client(cfg, discoveryv1.SchemeGroupVersion, &discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{})
	if err != nil {
		return err
	}
	update := func(obj any) {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok && ctx.Err() == nil {
			if addresses := Addresses(slice); len(addresses) > 0 {
				found(addresses)
			}
		}
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(client, "endpointslices", namespace, fields.OneTermEqualSelector(metav1.ObjectNameField, SliceName)),
		ObjectType:    &discoveryv1.EndpointSlice{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    update,
			UpdateFunc: func(_, obj any) { update(obj) },
		},
	})
	kube.Run(ctx, informer)
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
