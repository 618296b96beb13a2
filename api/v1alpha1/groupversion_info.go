// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds Fairlead's own kinds: NetworkStack, ClusterStack and FleetPool on
// the management cluster, NodeNetwork and AddressPool in every workload cluster. It holds types,
// their validation markers, and the name of every condition type and reason; it
// must not hold behaviour.
//
// +kubebuilder:object:generate=true
// +groupName=fairlead.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is the API group and version of every kind in this package.
	GroupVersion = schema.GroupVersion{Group: "fairlead.io", Version: "v1alpha1"}

	// AddToScheme adds the kinds of this package to a scheme.
	AddToScheme = schemeBuilder.AddToScheme

	schemeBuilder runtime.SchemeBuilder
)

// register is called by each kind's file.
func register(objects ...runtime.Object) {
	schemeBuilder.Register(func(s *runtime.Scheme) error {
		s.AddKnownTypes(GroupVersion, objects...)
		metav1.AddToGroupVersion(s, GroupVersion)
		return nil
	})
}
