// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func webService(name string, change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
	change(s)
	return s
}

func webSlice(name, service string, addresses ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}},
	}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	return s
}

// Services and slices come, change and go, in any order; those that others balance never come.
func TestServicesReachTheAgents(t *testing.T) {
	c := newCluster(t)
	node(t, "n1", "192.168.77.1", "10.0.1.0/24")
	// The slice is there before its Service.
	slice := webSlice("early-x", "early", "10.0.1.5")
	create(t, slice)
	a := c.agent("n1", nil, c.start("c1", "127.0.0.61"))
	eventually(t, "the slice came", func() bool { return a.slice("early-x") != nil })
	early := webService("early", func(*corev1.Service) {})
	create(t, early)
	create(t, webService("headless", func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }))
	create(t, webService("elsewhere", func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.org"
	}))
	create(t, webService("other", func(s *corev1.Service) {
		s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "other"}
	}))
	create(t, webService("last", func(*corev1.Service) {}))
	eventually(t, "the Services came", func() bool { return a.service("early") != nil && a.service("last") != nil })
	for _, name := range []string{"headless", "elsewhere", "other"} {
		if s := a.service(name); s != nil {
			t.Errorf("the agent has %v", s)
		}
	}

	before := slice.DeepCopy()
	slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.0.1.6"}, Conditions: discoveryv1.EndpointConditions{Ready: new(false)}})
	if err := admin.Patch(t.Context(), slice, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other endpoint came", func() bool {
		e := a.slice("early-x").GetEndpoints()
		return len(e) == 2 && e[0].GetReady() && !e[1].GetReady()
	})
	remove(t, slice)
	remove(t, early)
	eventually(t, "both are gone", func() bool { return a.slice("early-x") == nil && a.service("early") == nil })
}

// What is wrong with a Service or a slice is told to people at the object, and the rest
// goes on.
func TestServiceFaultsAreEvents(t *testing.T) {
	c := newCluster(t)
	node(t, "n1", "192.168.77.1", "10.0.1.0/24")
	a := c.agent("n1", nil, c.start("c1", "127.0.0.62"))
	create(t, webService("collides", func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.168.77.1", "10.0.9.9", "203.0.113.7"} }))
	create(t, webSlice("odd-x", "odd", "10.0.1.5", "192.0.2.9"))
	six := webSlice("odd-y", "odd", "fd00::5")
	six.AddressType = discoveryv1.AddressTypeIPv6
	create(t, six)
	eventually(t, "the good address is served", func() bool { return len(a.service("collides").GetExternalIps()) == 1 })
	eventually(t, "endpoints outside of the pod network, and those of the other family, are served", func() bool {
		return len(a.slice("odd-x").GetEndpoints()) == 2 && len(a.slice("odd-y").GetEndpoints()) == 1
	})
	for _, words := range []string{"spec.externalIPs[0]: 192.168.77.1 is an address of Node n1", "spec.externalIPs[1]: 10.0.9.9 is in the pods' range"} {
		eventually(t, "an Event with "+words, func() bool {
			var list corev1.EventList
			if err := admin.List(t.Context(), &list, client.InNamespace("default")); err != nil {
				t.Fatal(err)
			}
			for _, e := range list.Items {
				if e.InvolvedObject.Kind == "Service" && e.InvolvedObject.Name == "collides" && e.Reason == "NotServed" && strings.Contains(e.Message, words) {
					return true
				}
			}
			return false
		})
	}
}
