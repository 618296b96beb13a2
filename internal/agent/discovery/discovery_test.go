// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"slices"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
)

func TestAddresses(t *testing.T) {
	p := func(v int32) *int32 { return &v }
	s := func(v string) *string { return &v }
	b := func(v bool) *bool { return &v }
	ports := []discoveryv1.EndpointPort{{Name: s("health"), Port: p(9441)}, {Name: s("xds"), Port: p(9440)}}
	for name, tc := range map[string]struct {
		slice discoveryv1.EndpointSlice
		want  []string
	}{
		"ready ones, sorted": {
			discoveryv1.EndpointSlice{Ports: ports, Endpoints: []discoveryv1.Endpoint{
				{Addresses: []string{"10.0.0.3"}}, {Addresses: []string{"10.0.0.2"}, Conditions: discoveryv1.EndpointConditions{Ready: b(true)}}}},
			[]string{"10.0.0.2:9440", "10.0.0.3:9440"},
		},
		"one that is not ready is left out": {
			discoveryv1.EndpointSlice{Ports: ports, Endpoints: []discoveryv1.Endpoint{
				{Addresses: []string{"10.0.0.2"}, Conditions: discoveryv1.EndpointConditions{Ready: b(false)}}, {Addresses: []string{"fd00::3"}}}},
			[]string{"[fd00::3]:9440"},
		},
		"without our port": {
			discoveryv1.EndpointSlice{Ports: ports[:1], Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.2"}}}},
			nil,
		},
		"empty": {discoveryv1.EndpointSlice{Ports: ports}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Addresses(&tc.slice); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
