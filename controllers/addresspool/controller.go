// SPDX-License-Identifier: Apache-2.0

// Package addresspool gives Services of type LoadBalancer their addresses, says in the
// status of Services and AddressPools what came of it, and tells the agents who may
// announce which address. It owns no decision: internal/addresspool has those.
//
// Addresses are given by one replica (Leader), announcements are served by all of them:
// those follow from what the Services' status says.
package addresspool

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/addresspool"
)

// coalesce is how long changes are gathered before all is decided anew.
const coalesce = 50 * time.Millisecond

// everything is the one request: what one Service gets depends on all others.
var everything = reconcile.Request{}

// Reconciler gives addresses. It does nothing while Leading says no.
type Reconciler struct {
	// Client reads from a cache and writes.
	Client client.Client
	// Live reads from the API server: what a former leader wrote last may not be in the
	// cache yet.
	Live   client.Reader
	Events events.EventRecorder
	// Leading says whether this replica gives addresses.
	Leading func() bool
	// ClusterPodCIDRs are all ranges that pods of the cluster may have.
	ClusterPodCIDRs []string

	mu      sync.Mutex
	settled bool // the Services were read from the API server since this replica leads
	// written are Services whose status this replica wrote and the cache does not have yet.
	written map[types.UID]written
}

// written is the status of a Service that replaced that of a version of it.
type written struct {
	over   string // resourceVersion
	status corev1.ServiceStatus
}

// objects are what a decision is made from.
type objects struct {
	services []corev1.Service
	pools    []v1alpha1.AddressPool
	nodes    []corev1.Node
}

// Reconcile decides on all Services and writes what is new.
func (r *Reconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.Leading() {
		r.settled, r.written = false, nil
		return reconcile.Result{}, nil
	}
	all, err := r.read(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	result := addresspool.Allocate(toPools(all.pools), toServices(all), r.taken(all.nodes))
	var errs []error
	again := false
	for i := range all.services {
		conflict, err := r.writeService(ctx, &all.services[i], len(all.pools) > 0, result)
		again = again || conflict
		errs = append(errs, err)
	}
	for i := range all.pools {
		conflict, err := r.writePool(ctx, &all.pools[i], result.Pools[all.pools[i].Name])
		again = again || conflict
		errs = append(errs, err)
	}
	if again {
		return reconcile.Result{RequeueAfter: time.Second}, errors.Join(errs...)
	}
	return reconcile.Result{}, errors.Join(errs...)
}

// read lists what there is, with the statuses that this replica has written already.
func (r *Reconciler) read(ctx context.Context) (objects, error) {
	var services corev1.ServiceList
	var pools v1alpha1.AddressPoolList
	var nodes corev1.NodeList
	reader := client.Reader(r.Client)
	if !r.settled {
		reader = r.Live
	}
	if err := errors.Join(reader.List(ctx, &services), r.Client.List(ctx, &pools), r.Client.List(ctx, &nodes, client.UnsafeDisableDeepCopy)); err != nil {
		return objects{}, err
	}
	if !r.settled {
		r.settled, r.written = true, map[types.UID]written{}
		for i := range services.Items {
			r.noteLive(ctx, &services.Items[i])
		}
	}
	known := make(map[types.UID]bool, len(r.written))
	for i := range services.Items {
		s := &services.Items[i]
		if w, ok := r.written[s.UID]; ok && w.over == s.ResourceVersion {
			known[s.UID] = true
			s.Status = w.status
		}
	}
	for uid := range r.written {
		if !known[uid] {
			delete(r.written, uid)
		}
	}
	return objects{services.Items, pools.Items, nodes.Items}, nil
}

// noteLive keeps the status of a Service that the cache has an older version of.
func (r *Reconciler) noteLive(ctx context.Context, live *corev1.Service) {
	var cached corev1.Service
	if err := r.Client.Get(ctx, client.ObjectKeyFromObject(live), &cached); err == nil && cached.ResourceVersion != live.ResourceVersion {
		r.written[live.UID] = written{cached.ResourceVersion, live.Status}
	}
}

// taken are the addresses that are the cluster's own.
func (r *Reconciler) taken(nodes []corev1.Node) (out []addresspool.Taken) {
	add := func(text, owner string) {
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, addresspool.Taken{Prefix: p.Masked(), Owner: owner})
		}
	}
	for _, c := range r.ClusterPodCIDRs {
		add(c, "a part of the cluster's pod range "+c)
	}
	for i := range nodes {
		n := &nodes[i]
		for _, c := range n.Spec.PodCIDRs {
			add(c, "a part of Node "+n.Name+"'s pod range "+c)
		}
		for _, a := range n.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil {
				ip = ip.Unmap()
				out = append(out, addresspool.Taken{Prefix: netip.PrefixFrom(ip, ip.BitLen()), Owner: "Node " + n.Name + "'s address"})
			}
		}
	}
	return out
}

// writeService writes a Service's status if it is another one than it should be, and says
// so in an event. It returns true when somebody else has changed the Service meanwhile.
func (r *Reconciler) writeService(ctx context.Context, s *corev1.Service, pools bool, result addresspool.Result) (bool, error) {
	before := s.DeepCopy()
	got, wanted := result.Services[s.Namespace+"/"+s.Name]
	switch {
	case responsible(s, pools) && wanted:
		setService(s, got)
	case marked(s) && !wants(s):
		clearService(s)
	}
	if equality.Semantic.DeepEqual(before.Status, s.Status) {
		return false, nil
	}
	over, uid := s.ResourceVersion, s.UID
	// Only what differs, as the cache need not have all of a Service.
	patch := client.StrategicMergeFrom(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, s, patch); err != nil {
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	}
	r.written[uid] = written{over, s.Status}
	log.FromContext(ctx).Info("wrote a Service's addresses", "service", client.ObjectKeyFromObject(s), "addresses", got.Addresses)
	r.tell(s, got, wanted)
	return false, nil
}

func (r *Reconciler) tell(s *corev1.Service, got addresspool.Assignment, wanted bool) {
	switch {
	case !wanted:
		r.Events.Eventf(s, nil, corev1.EventTypeNormal, "AddressReleased", "ReleaseAddress", "The Service has no load balancer's address any more")
	case got.Problem != nil:
		r.Events.Eventf(s, nil, corev1.EventTypeWarning, got.Problem.Reason, "AssignAddress", "%s", got.Problem.Message)
	default:
		r.Events.Eventf(s, nil, corev1.EventTypeNormal, v1alpha1.ReasonAssigned, "AssignAddress", "Assigned %s", list(got.Addresses))
	}
}

func (r *Reconciler) writePool(ctx context.Context, p *v1alpha1.AddressPool, state addresspool.PoolState) (bool, error) {
	before := p.Status.DeepCopy()
	setPool(p, state)
	if equality.Semantic.DeepEqual(before, &p.Status) {
		return false, nil
	}
	err := r.Client.Status().Update(ctx, p)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return true, nil
	}
	return false, err
}

// SetupWithManager watches Services, AddressPools and Nodes. lead gets a value when this
// replica begins to lead.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, lead <-chan struct{}) error {
	return ctrl.NewControllerManagedBy(mgr).Named("addresspool").
		Watches(&corev1.Service{}, enqueue(serviceChanged)).
		Watches(&v1alpha1.AddressPool{}, enqueue(poolChanged)).
		Watches(&corev1.Node{}, enqueue(nodeChanged)).
		WatchesRawSource(signal(lead)).
		Complete(r)
}

func serviceChanged(a, b client.Object) bool {
	x, y := a.(*corev1.Service), b.(*corev1.Service)
	return !equality.Semantic.DeepEqual(x.Spec, y.Spec) || !equality.Semantic.DeepEqual(x.Status, y.Status) ||
		!equality.Semantic.DeepEqual(x.Labels, y.Labels) || !equality.Semantic.DeepEqual(x.Annotations, y.Annotations)
}

func poolChanged(a, b client.Object) bool {
	x, y := a.(*v1alpha1.AddressPool), b.(*v1alpha1.AddressPool)
	return x.Generation != y.Generation || !equality.Semantic.DeepEqual(x.Status, y.Status)
}

func nodeChanged(a, b client.Object) bool {
	x, y := a.(*corev1.Node), b.(*corev1.Node)
	return !slices.Equal(x.Spec.PodCIDRs, y.Spec.PodCIDRs) || !slices.Equal(x.Status.Addresses, y.Status.Addresses)
}
