// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ClusterOverride changes the configuration of some of a NetworkStack's clusters.
type ClusterOverride struct {
	// name of the override, unique in its NetworkStack. Messages name it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`

	// clusterSelector selects, by their labels, those of the NetworkStack's Clusters
	// that the override is for.
	// +required
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",message="clusterSelector of an override is empty: name the labels of the Clusters in matchLabels or matchExpressions; what is for every Cluster goes into spec.cni"
	ClusterSelector metav1.LabelSelector `json:"clusterSelector"`

	// cni replaces the fields of spec.cni that are set here.
	// +optional
	CNI CNIOverride `json:"cni,omitempty,omitzero"`
}

// CNIOverride replaces fields of a CNISpec. A field that is not set leaves what was
// there; one that is set replaces it, also by a zero value.
type CNIOverride struct {
	// routing replaces fields of spec.cni.routing.
	// +optional
	Routing *RoutingOverride `json:"routing,omitempty"`

	// tunnel replaces fields of spec.cni.tunnel.
	// +optional
	Tunnel *TunnelOverride `json:"tunnel,omitempty"`

	// mtu replaces spec.cni.mtu; 0 derives it from each node's uplink.
	// +optional
	MTU *MTU `json:"mtu,omitempty"`

	// masquerade replaces spec.cni.masquerade.
	// +optional
	Masquerade *bool `json:"masquerade,omitempty"`

	// masqueradeExceptions replaces spec.cni.masqueradeExceptions as a whole; an empty
	// list removes them all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	MasqueradeExceptions []CIDR `json:"masqueradeExceptions,omitzero"`

	// flowTable replaces fields of spec.cni.flowTable.
	// +optional
	FlowTable *FlowTableOverride `json:"flowTable,omitempty"`

	// policies replaces fields of spec.cni.policies.
	// +optional
	Policies *PoliciesSpec `json:"policies,omitempty"`

	// kubeProxyReplacement replaces spec.cni.kubeProxyReplacement.
	// +optional
	KubeProxyReplacement *KubeProxyReplacement `json:"kubeProxyReplacement,omitempty"`

	// services replaces fields of spec.cni.services.
	// +optional
	Services *ServicesOverride `json:"services,omitempty"`
}

// RoutingOverride replaces fields of a RoutingSpec.
type RoutingOverride struct {
	// mode replaces spec.cni.routing.mode.
	// +optional
	Mode *RoutingMode `json:"mode,omitempty"`
}

// TunnelOverride replaces fields of a TunnelSpec.
type TunnelOverride struct {
	// port replaces spec.cni.tunnel.port.
	// +optional
	Port *TunnelPort `json:"port,omitempty"`
}

// FlowTableOverride replaces fields of a FlowTableSpec.
type FlowTableOverride struct {
	// entries replaces spec.cni.flowTable.entries.
	// +optional
	Entries *FlowEntries `json:"entries,omitempty"`
}

// ServicesOverride replaces fields of a ServicesSpec.
type ServicesOverride struct {
	// forwarding replaces spec.cni.services.forwarding.
	// +optional
	Forwarding *ServiceForwarding `json:"forwarding,omitempty"`

	// frontends replaces spec.cni.services.frontends.
	// +optional
	Frontends *ServiceFrontends `json:"frontends,omitempty"`

	// backends replaces spec.cni.services.backends.
	// +optional
	Backends *ServiceBackends `json:"backends,omitempty"`
}
