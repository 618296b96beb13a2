// SPDX-License-Identifier: Apache-2.0

package gate

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/internal/probe"
)

// endpointSlices are those of the probes' Service, as their controller makes them: one of
// each family, with a pod that is not ready, and one of another Service.
func endpointSlices(namespace string) []*discoveryv1.EndpointSlice {
	yes, no := true, false
	slice := func(name, service string, family discoveryv1.AddressType, addresses ...string) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			AddressType: family,
		}
		for i, a := range addresses {
			node := string(rune('a' + i))
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{a}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &yes},
			})
		}
		s.Endpoints[len(addresses)-1].Conditions.Ready = &no
		return s
	}
	return []*discoveryv1.EndpointSlice{
		slice("probes-4", probe.Name, discoveryv1.AddressTypeIPv4, "10.0.1.2", "10.0.2.2", "10.0.3.2"),
		slice("probes-6", probe.Name, discoveryv1.AddressTypeIPv6, "fd00:1::2", "fd00:2::2", "fd00:3::2"),
		slice("others", "other", discoveryv1.AddressTypeIPv4, "10.0.4.2", "10.0.5.2", "10.0.6.2"),
	}
}
