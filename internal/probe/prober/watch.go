// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"context"
	"net/netip"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/fairlead-io/fairlead/internal/agent/kube"
	"github.com/fairlead-io/fairlead/internal/probe"
)

// Watch is the Source in a cluster: the EndpointSlices of the probes' Service. While the API
// server cannot be reached, the last peers are the best there are.
func Watch(cfg *rest.Config, namespace string) Source {
	return func(ctx context.Context, found func([]Peer)) error {
		client, err := kube.Client(cfg, discoveryv1.SchemeGroupVersion, &discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{})
		if err != nil {
			return err
		}
		ours := func(o *metav1.ListOptions) { o.LabelSelector = discoveryv1.LabelServiceName + "=" + probe.Name }
		var store cache.Store
		changed := func() {
			var slices []*discoveryv1.EndpointSlice
			for _, o := range store.List() {
				if slice, ok := o.(*discoveryv1.EndpointSlice); ok {
					slices = append(slices, slice)
				}
			}
			found(peersOf(slices))
		}
		store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
			ListerWatcher: cache.NewFilteredListWatchFromClient(client, "endpointslices", namespace, ours),
			ObjectType:    &discoveryv1.EndpointSlice{},
			Transform:     stripped,
			Handler: cache.ResourceEventHandlerFuncs{
				AddFunc:    func(any) { changed() },
				UpdateFunc: func(any, any) { changed() },
				DeleteFunc: func(any) { changed() },
			},
		})
		informer.RunWithContext(ctx)
		return nil
	}
}

// stripped takes from a slice what is not needed of it and as big as the rest.
func stripped(o any) (any, error) {
	if slice, ok := o.(*discoveryv1.EndpointSlice); ok {
		slice.ManagedFields = nil
	}
	return o, nil
}

// peersOf returns the endpoints that are ready, those of a node together: each family has
// slices of its own.
func peersOf(all []*discoveryv1.EndpointSlice) []Peer {
	byNode := map[string][]netip.Addr{}
	for _, slice := range all {
		for _, e := range slice.Endpoints {
			if e.NodeName == nil || (e.Conditions.Ready != nil && !*e.Conditions.Ready) {
				continue
			}
			for _, text := range e.Addresses {
				if a, err := netip.ParseAddr(text); err == nil {
					byNode[*e.NodeName] = append(byNode[*e.NodeName], a)
				}
			}
		}
	}
	var out []Peer
	for node, addresses := range byNode {
		slices.SortFunc(addresses, netip.Addr.Compare)
		out = append(out, Peer{Node: node, Addresses: slices.Compact(addresses)})
	}
	return out
}
