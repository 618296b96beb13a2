// SPDX-License-Identifier: Apache-2.0

// Package endpointslice feeds the EndpointSlices of a cluster into the model and the result
// into the store. It owns no decision: internal/model has those.
package endpointslice

import (
	"context"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

// ReasonEndpointLeftOut is the reason of an Event about an endpoint that cannot be used.
const ReasonEndpointLeftOut = "EndpointLeftOut"

// proxyNameLabel is on slices that another proxy balances.
const proxyNameLabel = "service.kubernetes.io/service-proxy-name"

// Reconciler takes one EndpointSlice at a time into the store.
type Reconciler struct {
	// Client reads EndpointSlices from a cache.
	Client client.Reader
	Store  *serve.Store
	Events events.EventRecorder

	mu       sync.Mutex // from reading the cache to changing the store: an older result must not replace a newer
	findings map[string][]model.Finding
}

// SetupWithManager watches EndpointSlices.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("endpointslice").
		Watches(&discoveryv1.EndpointSlice{}, &handler.EnqueueRequestForObject{}).
		Complete(r)
}

// Transform leaves of an EndpointSlice what is needed of it, before it enters the cache.
func Transform(obj any) (any, error) {
	s, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok {
		return obj, nil // a tombstone
	}
	out := &discoveryv1.EndpointSlice{TypeMeta: s.TypeMeta, AddressType: s.AddressType, Ports: s.Ports, Endpoints: s.Endpoints}
	out.ObjectMeta = metav1.ObjectMeta{
		Namespace: s.Namespace, Name: s.Name, UID: s.UID, ResourceVersion: s.ResourceVersion, Labels: s.Labels,
		DeletionTimestamp: s.DeletionTimestamp,
	}
	for i := range out.Endpoints {
		out.Endpoints[i].TargetRef, out.Endpoints[i].DeprecatedTopology, out.Endpoints[i].Hostname = nil, nil, nil
	}
	return out, nil
}

func toModel(s *discoveryv1.EndpointSlice) model.Slice {
	out := model.Slice{
		Namespace: s.Namespace, Name: s.Name, Service: s.Labels[discoveryv1.LabelServiceName],
		Proxy: s.Labels[proxyNameLabel], Family: string(s.AddressType),
	}
	_, out.Headless = s.Labels[corev1.IsHeadlessService]
	for _, p := range s.Ports {
		one := model.SlicePort{}
		if p.Name != nil {
			one.Name = *p.Name
		}
		if p.Protocol != nil {
			one.Protocol = string(*p.Protocol)
		}
		if p.Port != nil {
			one.Port = *p.Port
		}
		out.Ports = append(out.Ports, one)
	}
	for _, e := range s.Endpoints {
		out.Endpoints = append(out.Endpoints, endpointToModel(&e))
	}
	return out
}

// endpointToModel reads conditions as the API says that missing ones are to be read.
func endpointToModel(e *discoveryv1.Endpoint) model.SliceEndpoint {
	c := e.Conditions
	out := model.SliceEndpoint{
		Addresses:   e.Addresses,
		Ready:       c.Ready == nil || *c.Ready,
		Terminating: c.Terminating != nil && *c.Terminating,
	}
	out.Serving = c.Serving != nil && *c.Serving || c.Serving == nil && out.Ready
	if e.NodeName != nil {
		out.Node = *e.NodeName
	}
	if e.Zone != nil {
		out.Zone = *e.Zone
	}
	if e.Hints == nil {
		return out
	}
	for _, z := range e.Hints.ForZones {
		out.ZoneHints = append(out.ZoneHints, z.Name)
	}
	for _, n := range e.Hints.ForNodes {
		out.NodeHints = append(out.NodeHints, n.Name)
	}
	return out
}

// Reconcile takes the request's slice over.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var s discoveryv1.EndpointSlice
	err := r.Client.Get(ctx, req.NamespacedName, &s)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, err
	}
	name := req.Namespace + "/" + req.Name
	if err != nil {
		delete(r.findings, name)
		r.Store.Change(serve.Shared, state.ServiceEndpointsType, nil, []string{name})
		return reconcile.Result{}, nil
	}
	set, removed := r.build(ctx, &s)
	r.Store.Change(serve.Shared, state.ServiceEndpointsType, set, removed)
	return reconcile.Result{}, nil
}

// SyncAll takes all slices over: the store's first content.
func (r *Reconciler) SyncAll(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list discoveryv1.EndpointSliceList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	var all []state.Resource
	for i := range list.Items {
		set, _ := r.build(ctx, &list.Items[i])
		all = append(all, set...)
	}
	r.Store.Swap(serve.Shared, state.ServiceEndpointsType, all)
	return nil
}

func (r *Reconciler) build(ctx context.Context, s *discoveryv1.EndpointSlice) (set []state.Resource, removed []string) {
	name := s.Namespace + "/" + s.Name
	resource, ok, findings := model.BuildSlice(toModel(s))
	for _, f := range fresh(findings, r.findings[name]) {
		log.FromContext(ctx).Info("an endpoint cannot be used; the others go on",
			"object", f.Object, "field", f.Field, "message", f.Message, "fix", f.Fix)
	}
	if f := fresh(findings, r.findings[name]); len(f) > 0 && r.Events != nil {
		// One Event for all: the API server keeps the words of the first only, and the log has the others.
		more := ""
		if len(f) > 1 {
			more = fmt.Sprintf(" (and %d more in this slice)", len(f)-1)
		}
		r.Events.Eventf(s, nil, corev1.EventTypeWarning, ReasonEndpointLeftOut, "Balance", "%s: %s; %s%s", f[0].Field, f[0].Message, f[0].Fix, more)
	}
	if r.findings == nil {
		r.findings = map[string][]model.Finding{}
	}
	delete(r.findings, name)
	if len(findings) > 0 {
		r.findings[name] = findings
	}
	if !ok {
		return nil, []string{name}
	}
	return []state.Resource{resource}, nil
}

// fresh are the findings that were not told yet.
func fresh(found, told []model.Finding) (out []model.Finding) {
	for _, f := range found {
		if !slices.Contains(told, f) {
			out = append(out, f)
		}
	}
	return out
}
