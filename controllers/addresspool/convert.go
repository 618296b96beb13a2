// SPDX-License-Identifier: Apache-2.0

package addresspool

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/addresspool"
)

// wants says whether a Service wants its addresses from AddressPools.
func wants(s *corev1.Service) bool {
	class := s.Spec.LoadBalancerClass
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && (class == nil || *class == v1alpha1.LoadBalancerClassL2)
}

func condition(s *corev1.Service) *metav1.Condition {
	return meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionAddressAssigned)
}

// marked says whether the Service's addresses are from AddressPools.
func marked(s *corev1.Service) bool { return condition(s) != nil }

// responsible says whether a Service's status is for this controller to write. A Service
// of no class that somebody else has given an address is that one's, and where there are
// no pools nobody waits for one.
func responsible(s *corev1.Service, pools bool) bool {
	return wants(s) && (s.Spec.LoadBalancerClass != nil || marked(s) || pools && len(s.Status.LoadBalancer.Ingress) == 0)
}

func toServices(all objects) []addresspool.Service {
	var out []addresspool.Service
	for i := range all.services {
		if s := &all.services[i]; responsible(s, len(all.pools) > 0) {
			out = append(out, toService(s))
		}
	}
	return out
}

func toService(s *corev1.Service) addresspool.Service {
	out := addresspool.Service{
		Namespace: s.Namespace, Name: s.Name, Created: s.CreationTimestamp.Time, Labels: s.Labels,
		Pool: s.Annotations[v1alpha1.AnnotationAddressPool], SharingKey: s.Annotations[v1alpha1.AnnotationSharingKey],
		Local: local(s), Requested: requested(s),
	}
	for i, f := range s.Spec.IPFamilies {
		out.IPv4 = out.IPv4 || f == corev1.IPv4Protocol
		out.IPv6 = out.IPv6 || f == corev1.IPv6Protocol
		if p := s.Spec.IPFamilyPolicy; i == 1 && p != nil && *p == corev1.IPFamilyPolicyPreferDualStack {
			out.Optional = map[corev1.IPFamily]int{corev1.IPv4Protocol: 4, corev1.IPv6Protocol: 6}[f]
		}
	}
	for _, p := range s.Spec.Ports {
		out.Ports = append(out.Ports, addresspool.Port{Protocol: string(p.Protocol), Number: uint16(p.Port)})
	}
	if marked(s) {
		out.Has = ingress(s)
	}
	return out
}

func local(s *corev1.Service) bool {
	return s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// requested are the addresses that a Service asks for, as they are written.
func requested(s *corev1.Service) (out []string) {
	text, ok := s.Annotations[v1alpha1.AnnotationLoadBalancerIPs]
	if !ok {
		text = s.Spec.LoadBalancerIP //nolint:staticcheck // deprecated, and still what many charts set
	}
	for _, a := range strings.Split(text, ",") {
		if a = strings.TrimSpace(a); a != "" {
			out = append(out, a)
		}
	}
	return out
}

// ingress are the addresses in a Service's status.
func ingress(s *corev1.Service) (out []netip.Addr) {
	for _, i := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(i.IP); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// selector reads a label selector; one that cannot be read selects nothing, and the API
// server refuses those.
func selector(s metav1.LabelSelector) labels.Selector {
	out, err := metav1.LabelSelectorAsSelector(&s)
	if err != nil {
		return labels.Nothing()
	}
	return out
}

func ranges(p *v1alpha1.AddressPool) (out []string) {
	for _, r := range p.Spec.Addresses {
		out = append(out, string(r))
	}
	return out
}

func toPools(in []v1alpha1.AddressPool) []addresspool.Pool {
	out := make([]addresspool.Pool, 0, len(in))
	for i := range in {
		p := &in[i]
		if !p.DeletionTimestamp.IsZero() {
			continue
		}
		out = append(out, addresspool.Pool{
			Name: p.Name, Created: p.CreationTimestamp.Time, Ranges: ranges(p), Selector: selector(p.Spec.ServiceSelector),
			Namespaces: p.Spec.Namespaces, Auto: p.Spec.AutoAssign == nil || *p.Spec.AutoAssign,
		})
	}
	return out
}
