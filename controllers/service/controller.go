// SPDX-License-Identifier: Apache-2.0

// Package service feeds the Services of a cluster into the model and the result into the
// store. It owns no decision: internal/model has those.
package service

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
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

// ReasonNotServed is the reason of an Event about a part of a Service that is not balanced.
const ReasonNotServed = "NotServed"

// ProxyNameLabel is on Services, and their slices, that another proxy balances.
const ProxyNameLabel = "service.kubernetes.io/service-proxy-name"

// Reconciler takes one Service at a time into the model.
type Reconciler struct {
	// Client reads Services from a cache.
	Client client.Reader
	Store  *serve.Store
	Events events.EventRecorder

	mu       sync.Mutex // also from reading the cache to changing the store: an older result must not replace a newer
	book     *model.ServiceBook
	findings map[string][]model.Finding // what was told already, by Service
}

// SetupWithManager watches Services.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("service").
		Watches(&corev1.Service{}, &handler.EnqueueRequestForObject{}).
		Complete(r)
}

// Transform leaves of a Service what the model needs, before it enters the cache.
func Transform(obj any) (any, error) {
	s, ok := obj.(*corev1.Service)
	if !ok {
		return obj, nil // a tombstone
	}
	out := &corev1.Service{TypeMeta: s.TypeMeta, Spec: s.Spec, Status: s.Status}
	out.ObjectMeta = metav1.ObjectMeta{
		Namespace: s.Namespace, Name: s.Name, UID: s.UID, ResourceVersion: s.ResourceVersion, Generation: s.Generation,
		CreationTimestamp: s.CreationTimestamp, DeletionTimestamp: s.DeletionTimestamp,
		Labels: s.Labels, Annotations: s.Annotations,
	}
	out.Spec.Selector = nil
	return out, nil
}

func toModel(s *corev1.Service) model.Service {
	out := model.Service{
		Namespace: s.Namespace, Name: s.Name, Created: s.CreationTimestamp.Time,
		Headless:            s.Spec.ClusterIP == corev1.ClusterIPNone || s.Spec.ClusterIP == "" && len(s.Spec.ClusterIPs) == 0,
		External:            s.Spec.Type == corev1.ServiceTypeExternalName,
		Proxy:               s.Labels[ProxyNameLabel],
		ClusterIPs:          s.Spec.ClusterIPs,
		ExternalIPs:         s.Spec.ExternalIPs,
		InternalLocal:       s.Spec.InternalTrafficPolicy != nil && *s.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
		ExternalLocal:       s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		HealthCheckNodePort: s.Spec.HealthCheckNodePort,
		SourceRanges:        s.Spec.LoadBalancerSourceRanges,
		PublishNotReady:     s.Spec.PublishNotReadyAddresses,
	}
	if _, labelled := s.Labels[corev1.IsHeadlessService]; labelled {
		out.Headless = true
	}
	if len(out.ClusterIPs) == 0 && s.Spec.ClusterIP != "" {
		out.ClusterIPs = []string{s.Spec.ClusterIP}
	}
	if s.Spec.TrafficDistribution != nil {
		out.Distribution = *s.Spec.TrafficDistribution
	}
	if s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		out.AffinitySeconds = corev1.DefaultClientIPServiceAffinitySeconds
		if c := s.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			out.AffinitySeconds = *c.ClientIP.TimeoutSeconds
		}
	}
	for _, i := range s.Status.LoadBalancer.Ingress {
		if i.IP != "" && (i.IPMode == nil || *i.IPMode == corev1.LoadBalancerIPModeVIP) {
			out.LoadBalancerIPs = append(out.LoadBalancerIPs, i.IP)
		}
	}
	for _, p := range s.Spec.Ports {
		out.Ports = append(out.Ports, model.ServicePort{Name: p.Name, Protocol: string(p.Protocol), Port: p.Port, NodePort: p.NodePort})
	}
	return out
}

// Reconcile takes the request's Service over.
func (r *Reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.init()
	var s corev1.Service
	err := r.Client.Get(ctx, req.NamespacedName, &s)
	if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, err
	}
	if err != nil {
		r.bring(ctx, r.book.Remove(req.Namespace+"/"+req.Name))
		return reconcile.Result{}, nil
	}
	r.bring(ctx, r.book.Set(toModel(&s)))
	return reconcile.Result{}, nil
}

// SyncAll takes all Services over: the store's first content.
func (r *Reconciler) SyncAll(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.init()
	var list corev1.ServiceList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	for i := range list.Items {
		r.bring(ctx, r.book.Set(toModel(&list.Items[i])))
	}
	return nil
}

// SetNetwork says which addresses are nodes' and which ranges are pods'.
func (r *Reconciler) SetNetwork(ctx context.Context, nodes map[netip.Addr]string, ranges []netip.Prefix) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.init()
	r.bring(ctx, r.book.SetNetwork(nodes, ranges))
}

func (r *Reconciler) init() {
	if r.book == nil {
		r.book, r.findings = model.NewServiceBook(), map[string][]model.Finding{}
	}
}

// bring puts a change into the store and tells people of what is wrong, once.
func (r *Reconciler) bring(ctx context.Context, c model.ServiceChange) {
	r.Store.Change(serve.Shared, state.ServiceType, c.Set, c.Removed)
	for _, name := range c.Removed {
		delete(r.findings, name)
	}
	for name, findings := range c.Findings {
		told := 0
		for _, f := range findings {
			if !slices.Contains(r.findings[name], f) {
				r.tell(ctx, name, f, told < maxEvents)
				told++
			}
		}
		if len(findings) == 0 {
			delete(r.findings, name)
		} else {
			r.findings[name] = findings
		}
	}
}

// maxEvents bounds the Events of one change of a Service; the log has all.
const maxEvents = 8

func (r *Reconciler) tell(ctx context.Context, name string, f model.Finding, event bool) {
	log.FromContext(ctx).Info("a part of a Service cannot be balanced; the rest goes on",
		"object", f.Object, "field", f.Field, "message", f.Message, "fix", f.Fix)
	namespace, name, _ := strings.Cut(name, "/")
	var s corev1.Service
	if !event || r.Events == nil || r.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &s) != nil {
		return
	}
	r.Events.Eventf(&s, nil, corev1.EventTypeWarning, ReasonNotServed, actionOf(f), "%s: %s; %s", f.Field, f.Message, f.Fix)
}

// actionOf names the field too: Events of one object, reason and action are taken for one
// another, and only the words of the first are kept.
func actionOf(f model.Finding) string { return "Balance " + f.Field[:min(len(f.Field), 100)] }
