// SPDX-License-Identifier: Apache-2.0

package state

import "strconv"

// PolicyScopeName is the resource name of the PolicyScope.
const PolicyScopeName = "cluster"

// Kinds of policies, as their objects have them.
const (
	KindNetworkPolicy        = "NetworkPolicy"
	KindClusterNetworkPolicy = "ClusterNetworkPolicy"
)

// PolicyName is the resource name of a policy object; empty for one that holds nothing.
func PolicyName(m *PolicyObject) string {
	switch o := m.GetObject().(type) {
	case *PolicyObject_Scope:
		return PolicyScopeName
	case *PolicyObject_Peers:
		return "peers/" + o.Peers.GetSet() + "/" + strconv.FormatUint(uint64(o.Peers.GetBlock()), 10)
	case *PolicyObject_Policy:
		if o.Policy.GetTier() == PolicyTier_TIER_NAMESPACE {
			return "policy/" + KindNetworkPolicy + "/" + o.Policy.GetNamespace() + "/" + o.Policy.GetName()
		}
		return "policy/" + KindClusterNetworkPolicy + "/" + o.Policy.GetName()
	case *PolicyObject_Subject:
		return "subject/" + o.Subject.GetNamespace() + "/" + o.Subject.GetName()
	}
	return ""
}
