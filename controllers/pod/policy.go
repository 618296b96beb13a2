// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-io/fairlead/internal/interest"
	"github.com/fairlead-io/fairlead/internal/model/policy"
)

// PolicyReconciler feeds Pods, one at a time and at once, to the policies that mean them.
type PolicyReconciler struct {
	// Client reads Pods from a cache.
	Client client.Reader
	Feed   *interest.Feed
}

// SetupWithManager watches Pods.
func (r *PolicyReconciler) SetupWithManager(mgr ctrl.Manager) error {
	seen := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*corev1.Pod), e.ObjectNew.(*corev1.Pod)
		return relevant(before, after) || !maps.Equal(before.Labels, after.Labels)
	}}
	return ctrl.NewControllerManagedBy(mgr).Named("podpolicy").
		Watches(&corev1.Pod{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(seen)).
		Complete(r)
}

// toPolicy is what policies see of a Pod. Addresses that are none are reported where the
// node's endpoints are built.
func toPolicy(p *corev1.Pod) policy.Pod {
	m := toModel(p)
	out := policy.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: uidOnNode(p), Node: p.Spec.NodeName, Labels: p.Labels,
		HostNetwork: m.HostNetwork, Finished: m.Finished,
	}
	for _, text := range m.IPs {
		if a, err := netip.ParseAddr(text); err == nil && !a.Is4In6() && a.Zone() == "" {
			out.Addresses = append(out.Addresses, a)
		}
	}
	for _, c := range slices.Concat(namedPorts(p.Spec.Containers, false), namedPorts(p.Spec.InitContainers, true)) {
		for _, port := range c.Ports {
			if protocol, ok := protocols[port.Protocol]; ok && port.Name != "" {
				out.Ports = append(out.Ports, policy.NamedPort{Name: port.Name, Protocol: protocol, Port: uint16(port.ContainerPort)})
			}
		}
	}
	return out
}

// mirror is the annotation of a static pod's image in the API server: the UID that the pod
// itself has, by which the node's runtime and agent know it.
const mirror = "kubernetes.io/config.mirror"

func uidOnNode(p *corev1.Pod) string {
	if uid := p.Annotations[mirror]; uid != "" {
		return uid
	}
	return string(p.UID)
}

// protocols are IANA numbers. The API server fills in TCP where none is named.
var protocols = map[corev1.Protocol]uint8{corev1.ProtocolTCP: 6, "": 6, corev1.ProtocolUDP: 17, corev1.ProtocolSCTP: 132}

// namedPorts leaves of containers their ports that have a name. Init containers that do not
// go on serve nobody.
func namedPorts(containers []corev1.Container, init bool) (out []corev1.Container) {
	for _, c := range containers {
		if init && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways) {
			continue
		}
		var ports []corev1.ContainerPort
		for _, p := range c.Ports {
			if p.Name != "" {
				ports = append(ports, corev1.ContainerPort{Name: p.Name, Protocol: p.Protocol, ContainerPort: p.ContainerPort})
			}
		}
		if ports != nil {
			out = append(out, corev1.Container{Ports: ports, RestartPolicy: c.RestartPolicy})
		}
	}
	return out
}

// Reconcile takes the request's Pod over.
func (r *PolicyReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	return reconcile.Result{}, r.Feed.Change(func(x *policy.Index) error {
		var p corev1.Pod
		err := r.Client.Get(ctx, req.NamespacedName, &p)
		switch {
		case client.IgnoreNotFound(err) != nil:
			return err
		case err != nil:
			x.RemovePod(req.Namespace, req.Name)
		default:
			x.SetPod(toPolicy(&p))
		}
		return nil
	})
}

// SyncAll takes all Pods over.
func (r *PolicyReconciler) SyncAll(ctx context.Context) error {
	return r.Feed.Change(func(x *policy.Index) error {
		var list corev1.PodList
		if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
			return err
		}
		for i := range list.Items {
			x.SetPod(toPolicy(&list.Items[i]))
		}
		return nil
	})
}
