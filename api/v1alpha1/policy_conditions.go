// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// ConditionInForce is on ClusterNetworkPolicies: whether every agent that has pods which the
// policy selects has acknowledged the observed generation. It speaks of the agents that are
// connected to the controller that wrote it. Their other condition of ours is Accepted.
const ConditionInForce = "fairlead.io/InForce"

// Reasons of a policy's conditions, beside ReasonAccepted, ReasonAcknowledged, ReasonRefused
// and ReasonWaiting.
const (
	// ReasonPartsUnusable says that rules of the policy cannot be enforced as they are and fail
	// closed; the message says which, and what to do.
	ReasonPartsUnusable = "PartsUnusable"
	// ReasonNobodyConnected says that no agent that the policy concerns is connected to the
	// controller that says so.
	ReasonNobodyConnected = "NobodyConnected"
)

// Reasons of events at NetworkPolicies.
const (
	// ReasonNotEnforced says that a rule cannot be enforced as it is and allows nothing.
	ReasonNotEnforced = "NotEnforced"
	// ReasonInForce says that every connected agent that a generation concerns has acknowledged it.
	ReasonInForce = "InForce"
)
