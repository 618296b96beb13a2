// SPDX-License-Identifier: Apache-2.0

package addresspool

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/addresspool"
	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

// byService is the index of EndpointSlices by the Service that they are of.
const byService = "fairlead.io/service"

// Announcer serves who may announce which address.
type Announcer struct {
	// Client reads from a cache.
	Client client.Reader
	Store  *serve.Store
	// Key returns the secret of the cluster that the agents prove themselves with.
	Key func() ([]byte, error)

	mu sync.Mutex // from reading the cache to swapping: an older result must not replace a newer
}

// SetupWithManager watches what announcements are made from.
func (r *Announcer) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &discoveryv1.EndpointSlice{}, byService, func(o client.Object) []string {
		return []string{o.GetLabels()[discoveryv1.LabelServiceName]}
	})
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).Named("announcement").
		Watches(&corev1.Service{}, enqueue(exposureChanged)).
		Watches(&v1alpha1.AddressPool{}, enqueue(func(a, b client.Object) bool { return a.GetGeneration() != b.GetGeneration() })).
		Watches(&corev1.Node{}, enqueue(candidateChanged)).
		Watches(&discoveryv1.EndpointSlice{}, r.slices()).
		Complete(r)
}

func exposureChanged(a, b client.Object) bool {
	x, y := a.(*corev1.Service), b.(*corev1.Service)
	return local(x) != local(y) || marked(x) != marked(y) || !slices.Equal(ingress(x), ingress(y)) ||
		x.Spec.PublishNotReadyAddresses != y.Spec.PublishNotReadyAddresses
}

func candidateChanged(a, b client.Object) bool {
	return !equality.Semantic.DeepEqual(toNode(a.(*corev1.Node)), toNode(b.(*corev1.Node)))
}

// slices concern announcements only where a Service has addresses and is Local.
func (r *Announcer) slices() handler.EventHandler {
	look := func(ctx context.Context, o client.Object, q queue) {
		var s corev1.Service
		key := types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetLabels()[discoveryv1.LabelServiceName]}
		if key.Name != "" && r.Client.Get(ctx, key, &s) == nil && local(&s) && marked(&s) {
			q.AddAfter(everything, coalesce)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { look(ctx, e.Object, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { look(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { look(ctx, e.ObjectNew, q) },
	}
}

// Reconcile computes all announcements and swaps them in.
func (r *Announcer) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	return reconcile.Result{}, r.Sync(ctx)
}

// Sync computes all announcements: the store's first content.
func (r *Announcer) Sync(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var services corev1.ServiceList
	var pools v1alpha1.AddressPoolList
	var nodes corev1.NodeList
	err := errors.Join(r.Client.List(ctx, &services, client.UnsafeDisableDeepCopy), r.Client.List(ctx, &pools),
		r.Client.List(ctx, &nodes, client.UnsafeDisableDeepCopy))
	if err != nil {
		return err
	}
	exposed, err := r.exposed(ctx, services.Items)
	if err != nil {
		return err
	}
	candidates := make([]addresspool.Node, 0, len(nodes.Items))
	for i := range nodes.Items {
		candidates = append(candidates, toNode(&nodes.Items[i]))
	}
	resources, err := r.encode(addresspool.Announcements(toAnnouncers(pools.Items), exposed, candidates))
	if err != nil {
		return err
	}
	r.Store.Swap(serve.Shared, state.AnnouncementType, resources)
	return nil
}

func (r *Announcer) encode(all []addresspool.Announcement) ([]state.Resource, error) {
	key, err := r.Key()
	if err != nil {
		return nil, err
	}
	out := make([]state.Resource, 0, len(all))
	for _, a := range all {
		res, err := state.Encode(a.Address.String(), &state.Announcement{
			Address: a.Address.AsSlice(), Nodes: a.Nodes, Interfaces: a.Interfaces, Key: key,
		})
		if err != nil {
			return nil, err
		}
		out = append(out, res)
	}
	return out, nil
}

// exposed are the Services whose addresses are from AddressPools.
func (r *Announcer) exposed(ctx context.Context, services []corev1.Service) (out []addresspool.Exposed, err error) {
	for i := range services {
		s := &services[i]
		if !marked(s) || !wants(s) || len(s.Status.LoadBalancer.Ingress) == 0 {
			continue
		}
		e := addresspool.Exposed{Addresses: ingress(s), Local: local(s)}
		if e.Local {
			if e.Nodes, err = r.nodesOf(ctx, s); err != nil {
				return nil, err
			}
		}
		out = append(out, e)
	}
	return out, nil
}

// nodesOf are the nodes with an endpoint that takes connections.
func (r *Announcer) nodesOf(ctx context.Context, s *corev1.Service) ([]string, error) {
	var list discoveryv1.EndpointSliceList
	if err := r.Client.List(ctx, &list, client.InNamespace(s.Namespace), client.MatchingFields{byService: s.Name}); err != nil {
		return nil, err
	}
	return readyNodes(s, list.Items), nil
}

// readyNodes are nodes with a ready endpoint. While there is none, those with one that
// still serves although it terminates are as good.
func readyNodes(s *corev1.Service, list []discoveryv1.EndpointSlice) []string {
	ready, serving := map[string]bool{}, map[string]bool{}
	for i := range list {
		for _, e := range list[i].Endpoints {
			if e.NodeName == nil {
				continue
			}
			yes := func(b *bool) bool { return b == nil || *b }
			if yes(e.Conditions.Ready) || s.Spec.PublishNotReadyAddresses {
				ready[*e.NodeName] = true
			}
			if yes(e.Conditions.Serving) && e.Conditions.Terminating != nil && *e.Conditions.Terminating {
				serving[*e.NodeName] = true
			}
		}
	}
	if len(ready) == 0 {
		ready = serving
	}
	return slices.Sorted(maps.Keys(ready))
}

func toAnnouncers(in []v1alpha1.AddressPool) []addresspool.Announcer {
	in = slices.Clone(in)
	slices.SortFunc(in, func(a, b v1alpha1.AddressPool) int {
		return cmp.Or(a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	out := make([]addresspool.Announcer, 0, len(in))
	for i := range in {
		p := &in[i]
		out = append(out, addresspool.Announcer{
			Pool: p.Name, Ranges: ranges(p), Off: p.Spec.Announce.Mode == v1alpha1.AnnounceNone,
			Nodes: selector(p.Spec.Announce.NodeSelector), Interfaces: p.Spec.Announce.Interfaces,
		})
	}
	return out
}

func toNode(n *corev1.Node) addresspool.Node {
	_, excluded := n.Labels[corev1.LabelNodeExcludeBalancers]
	out := addresspool.Node{Name: n.Name, Labels: n.Labels, Excluded: excluded || !n.DeletionTimestamp.IsZero()}
	for _, c := range n.Status.Conditions {
		out.Ready = out.Ready || c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}
	return out
}
