// SPDX-License-Identifier: Apache-2.0

package endpointslice

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/internal/model"
)

func sample() *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "a-x", UID: "u1", ResourceVersion: "7", Labels: map[string]string{discoveryv1.LabelServiceName: "a"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Protocol: new(corev1.ProtocolTCP), Port: new(int32(8080))}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"10.244.0.1"}, NodeName: new("n1"), Zone: new("z1"), TargetRef: &corev1.ObjectReference{Name: "p"},
			Conditions: discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)},
			Hints:      &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "z1"}}, ForNodes: []discoveryv1.ForNode{{Name: "n1"}}},
		}},
	}
}

func TestWhatTheModelSees(t *testing.T) {
	want := model.Slice{
		Namespace: "default", Name: "a-x", Service: "a", Family: "IPv4", Ports: []model.SlicePort{{Name: "http", Protocol: "TCP", Port: 8080}},
		Endpoints: []model.SliceEndpoint{{
			Addresses: []string{"10.244.0.1"}, Serving: true, Terminating: true, Node: "n1", Zone: "z1", ZoneHints: []string{"z1"}, NodeHints: []string{"n1"},
		}},
	}
	if got := toModel(sample()); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	out, err := Transform(sample())
	if err != nil {
		t.Fatal(err)
	}
	got := out.(*discoveryv1.EndpointSlice)
	if !reflect.DeepEqual(toModel(got), want) {
		t.Errorf("after the cache's transformation: %+v", toModel(got))
	}
	if got.ManagedFields != nil || got.Endpoints[0].TargetRef != nil || got.ResourceVersion != "7" {
		t.Errorf("kept %+v", got)
	}
}

// Missing conditions are read as the API says: ready, serving as it is ready, not terminating.
func TestMissingConditions(t *testing.T) {
	for name, c := range map[string]struct {
		in             discoveryv1.EndpointConditions
		ready, serving bool
	}{
		"none":             {discoveryv1.EndpointConditions{}, true, true},
		"not ready":        {discoveryv1.EndpointConditions{Ready: new(false)}, false, false},
		"ready":            {discoveryv1.EndpointConditions{Ready: new(true)}, true, true},
		"serving, not yet": {discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true)}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			got := endpointToModel(&discoveryv1.Endpoint{Conditions: c.in})
			if got.Ready != c.ready || got.Serving != c.serving || got.Terminating {
				t.Errorf("got %+v", got)
			}
		})
	}
}
