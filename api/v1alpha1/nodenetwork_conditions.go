// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// The condition types of NodeNetwork are Connected (the agent holds a subscription),
// Accepted (the Node object can be used as it is), Synced (the agent has
// acknowledged everything it should hold), and Ready (all of them). ServicesReady (the
// agent balances Services) is not part of Ready: what is on its way is part of Synced.

// Reasons of NodeNetwork's Connected. Synced and Ready repeat them while the agent
// is not connected.
const (
	// ReasonSubscribed says that the agent is subscribed to the controller in status.servedBy.
	ReasonSubscribed = "Subscribed"
	// ReasonNeverSubscribed says that no agent of this node has come yet.
	ReasonNeverSubscribed = "NeverSubscribed"
	// ReasonDisconnected says that the agent's subscription has ended. The node's
	// network goes on with what it has.
	ReasonDisconnected = "Disconnected"
	// ReasonControllerGone says that the controller in status.servedBy is gone and
	// that the agent has not come to another one yet.
	ReasonControllerGone = "ControllerGone"
)

// Reasons of NodeNetwork's Accepted, beside ReasonAccepted.
const (
	// ReasonNodeInvalid says that the Node object, or the cluster's configuration,
	// has a fault that the message names.
	ReasonNodeInvalid = "NodeInvalid"
)

// Reasons of NodeNetwork's Synced.
const (
	// ReasonAcknowledged says that the agent has acknowledged everything.
	ReasonAcknowledged = "Acknowledged"
	// ReasonAwaitingAcknowledgement says that something is on its way to the agent.
	ReasonAwaitingAcknowledgement = "AwaitingAcknowledgement"
	// ReasonRefused says that the agent refused something; the message has its words.
	ReasonRefused = "Refused"
)

// Reasons of NodeNetwork's ServicesReady, beside ReasonAwaitingAcknowledgement and
// ReasonRefused.
const (
	// ReasonServicesInForce says that the agent has had all Services in force since it
	// subscribed.
	ReasonServicesInForce = "ServicesInForce"
)
