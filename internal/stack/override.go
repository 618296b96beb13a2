// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// override is a ClusterOverride whose selector was read.
type override struct {
	selector labels.Selector
	cni      partialCNI
}

// partialCNI is what an override sets of a CNISpec.
type partialCNI v1alpha1.CNIOverride

// readOverrides reads a stack's overrides in their order. An empty selector selects
// nothing: the API server refuses it, and it must not turn into everything where that
// was got round. The error is an *InvalidSelectorError that names the override.
func readOverrides(s *v1alpha1.NetworkStack) ([]override, error) {
	out := make([]override, 0, len(s.Spec.Overrides))
	for _, o := range s.Spec.Overrides {
		selector := labels.Nothing()
		if len(o.ClusterSelector.MatchLabels)+len(o.ClusterSelector.MatchExpressions) > 0 {
			var err error
			if selector, err = metav1.LabelSelectorAsSelector(&o.ClusterSelector); err != nil {
				return nil, &InvalidSelectorError{Stack: s.Name, Override: o.Name, Err: err}
			}
		}
		out = append(out, override{selector: selector, cni: partialCNI(o.CNI)})
	}
	return out, nil
}

// apply replaces what the override sets.
func (p partialCNI) apply(cni *v1alpha1.CNISpec) {
	if p.Routing != nil {
		replace(&cni.Routing.Mode, p.Routing.Mode)
	}
	if p.Tunnel != nil {
		replace(&cni.Tunnel.Port, p.Tunnel.Port)
	}
	if p.FlowTable != nil {
		replace(&cni.FlowTable.Entries, p.FlowTable.Entries)
	}
	if p.Policies != nil {
		replacePolicies(&cni.Policies, *p.Policies)
	}
	replace(&cni.KubeProxyReplacement, p.KubeProxyReplacement)
	if p.Services != nil {
		replace(&cni.Services.Forwarding, p.Services.Forwarding)
		replace(&cni.Services.Frontends, p.Services.Frontends)
		replace(&cni.Services.Backends, p.Services.Backends)
	}
	replace(&cni.MTU, p.MTU)
	if p.Masquerade != nil {
		masquerade := *p.Masquerade
		cni.Masquerade = &masquerade
	}
	if p.MasqueradeExceptions != nil {
		cni.MasqueradeExceptions = slices.Clone(p.MasqueradeExceptions)
	}
}

func replacePolicies(policies *v1alpha1.PoliciesSpec, by v1alpha1.PoliciesSpec) {
	if by.Entries != 0 {
		policies.Entries = by.Entries
	}
	if by.PeerWait != nil {
		wait := *by.PeerWait
		policies.PeerWait = &wait
	}
}

func replace[T any](field, by *T) {
	if by != nil {
		*field = *by
	}
}
