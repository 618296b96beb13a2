// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strconv"

	"github.com/fairlead-io/fairlead/internal/state"
)

// Kinds of policies, as their objects have them.
const (
	KindNetworkPolicy        = "NetworkPolicy"
	KindClusterNetworkPolicy = "ClusterNetworkPolicy"
)

// scopeName is the resource name of the scope.
const scopeName = "cluster"

// Name is the resource name that a message belongs to; empty for one that holds nothing.
func Name(m *state.PolicyObject) string {
	switch o := m.GetObject().(type) {
	case *state.PolicyObject_Scope:
		return scopeName
	case *state.PolicyObject_Peers:
		return "peers/" + o.Peers.GetSet() + "/" + strconv.FormatUint(uint64(o.Peers.GetBlock()), 10)
	case *state.PolicyObject_Policy:
		if o.Policy.GetTier() == state.PolicyTier_TIER_NAMESPACE {
			return "policy/" + KindNetworkPolicy + "/" + o.Policy.GetNamespace() + "/" + o.Policy.GetName()
		}
		return "policy/" + KindClusterNetworkPolicy + "/" + o.Policy.GetName()
	case *state.PolicyObject_Subject:
		return "subject/" + o.Subject.GetNamespace() + "/" + o.Subject.GetName()
	}
	return ""
}
