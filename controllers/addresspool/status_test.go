// SPDX-License-Identifier: Apache-2.0

package addresspool

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/addresspool"
)

func service(change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "d", Name: "a"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
	}}
	for _, c := range change {
		c(s)
	}
	return s
}

func class(c string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.LoadBalancerClass = &c }
}

func with(ip string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ip}} }
}

func mark(s *corev1.Service) {
	s.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAddressAssigned, Status: metav1.ConditionTrue}}
}

func TestWhoseServiceItIs(t *testing.T) {
	for _, c := range []struct {
		name    string
		service *corev1.Service
		pools   bool
		want    bool
	}{
		{"no class, pools", service(), true, true},
		{"no class, no pools", service(), false, false},
		{"our class, no pools", service(class(v1alpha1.LoadBalancerClassL2)), false, true},
		{"another class", service(class("example.com/lb")), true, false},
		{"no class, somebody else's address", service(with("192.0.2.1")), true, false},
		{"no class, our address", service(with("192.0.2.1"), mark), true, true},
		{"our address, and the pools are gone", service(with("192.0.2.1"), mark), false, true},
		{"no load balancer", service(mark, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }), true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := responsible(c.service, c.pools); got != c.want {
				t.Errorf("responsible: %v", got)
			}
		})
	}
}

func TestWhatAServiceAsksFor(t *testing.T) {
	got := toService(service(with("192.0.2.1"), func(s *corev1.Service) {
		s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
		s.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicyPreferDualStack)
		s.Spec.LoadBalancerIP = "192.0.2.9"
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.Ports = []corev1.ServicePort{{Protocol: corev1.ProtocolUDP, Port: 53}}
		s.Annotations = map[string]string{
			v1alpha1.AnnotationLoadBalancerIPs: " 192.0.2.1, 2001:db8::1,", v1alpha1.AnnotationAddressPool: "p", v1alpha1.AnnotationSharingKey: "k",
		}
	}))
	want := addresspool.Service{
		Namespace: "d", Name: "a", IPv4: true, IPv6: true, Optional: 4, Pool: "p", Requested: []string{"192.0.2.1", "2001:db8::1"},
		SharingKey: "k", Local: true, Ports: []addresspool.Port{{Protocol: "UDP", Number: 53}},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := requested(service(func(s *corev1.Service) { s.Spec.LoadBalancerIP = "192.0.2.9" })); fmt.Sprint(got) != "[192.0.2.9]" {
		t.Errorf("spec.loadBalancerIP alone: %v", got)
	}
}

func TestWhichNodesHaveEndpoints(t *testing.T) {
	endpoint := func(node string, ready, serving, terminating bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}}
	}
	for _, c := range []struct {
		name      string
		endpoints []discoveryv1.Endpoint
		publish   bool
		want      string
	}{
		{"ready ones", []discoveryv1.Endpoint{endpoint("n2", true, true, false), endpoint("n1", true, true, false), endpoint("n3", false, false, false)}, false, "[n1 n2]"},
		{"one that says nothing is ready", []discoveryv1.Endpoint{{NodeName: new("n1")}}, false, "[n1]"},
		{"one of no node", []discoveryv1.Endpoint{{}}, false, "[]"},
		{"a terminating one beside a ready one", []discoveryv1.Endpoint{endpoint("n1", true, true, false), endpoint("n2", false, true, true)}, false, "[n1]"},
		{"terminating ones alone", []discoveryv1.Endpoint{endpoint("n1", false, false, true), endpoint("n2", false, true, true)}, false, "[n2]"},
		{"published although not ready", []discoveryv1.Endpoint{endpoint("n1", false, false, false)}, true, "[n1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := service(func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = c.publish })
			if got := fmt.Sprint(readyNodes(s, []discoveryv1.EndpointSlice{{Endpoints: c.endpoints}})); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestWhatAPoolSays(t *testing.T) {
	bad := &addresspool.Problem{Reason: v1alpha1.ReasonPoolOverlaps, Message: "overlaps"}
	for _, c := range []struct {
		name  string
		state addresspool.PoolState
		want  string
	}{
		{"all is well", addresspool.PoolState{}, "Accepted=True Available=True Ready=True/PoolReady"},
		{"refused", addresspool.PoolState{Accepted: bad}, "Accepted=False Available=True Ready=False/OverlapsOtherPool"},
		{"exhausted", addresspool.PoolState{Waiting: []string{"d/a"}}, "Accepted=True Available=False Ready=False/Exhausted"},
		{"both", addresspool.PoolState{Accepted: bad, Waiting: []string{"d/a"}}, "Accepted=False Available=False Ready=False/OverlapsOtherPool"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &v1alpha1.AddressPool{}
			setPool(p, c.state)
			var got []string
			for _, k := range p.Status.Conditions {
				text := k.Type + "=" + string(k.Status)
				if k.Type == v1alpha1.ConditionReady {
					text += "/" + k.Reason
				}
				got = append(got, text)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}

// TestARefreshedStatusIsTheSame keeps a Service from being written again and again.
func TestARefreshedStatusIsTheSame(t *testing.T) {
	s := service()
	got := addresspool.Assignment{Addresses: addresspool.Allocate(
		[]addresspool.Pool{{Name: "p", Ranges: []string{"192.0.2.1"}, Auto: true}}, []addresspool.Service{toService(s)}, nil).Services["d/a"].Addresses}
	setService(s, got)
	before := s.DeepCopy()
	setService(s, got)
	if diff := cmp.Diff(before, s); diff != "" || len(s.Status.LoadBalancer.Ingress) != 1 {
		t.Errorf("status %+v; differs by %s", s.Status, diff)
	}
}

// nobody is a client that must not be asked.
type nobody struct{ client.Client }

func TestWhoDoesNotLeadReadsAndWritesNothing(t *testing.T) {
	r := &Reconciler{Client: nobody{}, Leading: func() bool { return false }, settled: true}
	if _, err := r.Reconcile(context.Background(), reconcile.Request{}); err != nil || r.settled {
		t.Errorf("%v; once it leads again it must read anew", err)
	}
}
