// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds Fairlead's own kinds: NetworkStack and ClusterStack on
// the management cluster, NodeNetwork in every workload cluster. It holds types,
// their validation markers, and the name of every condition type and reason; it
// must not hold behaviour.
//
// +kubebuilder:object:generate=true
// +groupName=fairlead.io
package v1alpha1

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/scheme"
)

var (
	// GroupVersion is the API group and version of every kind in this package.
	GroupVersion = schema.GroupVersion{Group: "fairlead.io", Version: "v1alpha1"}

	// SchemeBuilder registers the kinds of this package.
	SchemeBuilder = &scheme.Builder{GroupVersion: GroupVersion}

	// AddToScheme adds the kinds of this package to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)
