// SPDX-License-Identifier: Apache-2.0

package addresspool

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/addresspool"
)

func list(addrs []netip.Addr) string {
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}

// setService makes a Service's status that of an assignment.
func setService(s *corev1.Service, got addresspool.Assignment) {
	if !slices.Equal(ingress(s), got.Addresses) || !vip(s) {
		s.Status.LoadBalancer.Ingress = nil
		for _, a := range got.Addresses {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress,
				corev1.LoadBalancerIngress{IP: a.String(), IPMode: new(corev1.LoadBalancerIPModeVIP)})
		}
	}
	c := metav1.Condition{
		Type: v1alpha1.ConditionAddressAssigned, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAssigned,
		Message: "The Service has " + list(got.Addresses),
	}
	if got.Problem != nil {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, got.Problem.Reason, got.Problem.Message
	}
	meta.SetStatusCondition(&s.Status.Conditions, c)
}

// vip says whether all of a Service's addresses are virtual ones.
func vip(s *corev1.Service) bool {
	return !slices.ContainsFunc(s.Status.LoadBalancer.Ingress, func(i corev1.LoadBalancerIngress) bool {
		return i.IPMode == nil || *i.IPMode != corev1.LoadBalancerIPModeVIP
	})
}

// clearService takes a Service's addresses away that is no load balancer of ours any more.
func clearService(s *corev1.Service) {
	s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	meta.RemoveStatusCondition(&s.Status.Conditions, v1alpha1.ConditionAddressAssigned)
}

// setPool makes an AddressPool's status that of a decision.
func setPool(p *v1alpha1.AddressPool, state addresspool.PoolState) {
	st := &p.Status
	st.ObservedGeneration = p.Generation
	st.IPv4, st.IPv6 = v1alpha1.AddressCounts(state.IPv4), v1alpha1.AddressCounts(state.IPv6)
	set := func(kind string, problem *addresspool.Problem, reason, message string) bool {
		c := metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: p.Generation}
		if problem != nil {
			c.Status, c.Reason, c.Message = metav1.ConditionFalse, problem.Reason, problem.Message
		}
		meta.SetStatusCondition(&st.Conditions, c)
		return problem == nil
	}
	var waiting *addresspool.Problem
	if len(state.Waiting) > 0 {
		waiting = &addresspool.Problem{Reason: v1alpha1.ReasonPoolExhausted, Message: "AddressPool " + p.Name + ": no address is free for Service " +
			strings.Join(state.Waiting, ", ") + ": add addresses to spec.addresses"}
	}
	set(v1alpha1.ConditionAccepted, state.Accepted, v1alpha1.ReasonAccepted, "All of the spec can be used")
	set(v1alpha1.ConditionAvailable, waiting, v1alpha1.ReasonPoolAvailable, "No Service waits for an address of this pool")
	problem := state.Accepted
	if problem == nil {
		problem = waiting
	}
	set(v1alpha1.ConditionReady, problem, v1alpha1.ReasonPoolReady, "The pool does what its spec says")
}
