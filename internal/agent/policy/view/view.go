// SPDX-License-Identifier: Apache-2.0

// Package view is what an agent says of network policy, in JSON: the agent writes it, and
// programs anywhere read it, so it depends on nothing.
package view

import "time"

// Trace is what a node does with a connection of a pod of its own, and why.
type Trace struct {
	Node string `json:"node,omitempty"`
	// Pod is "namespace/name" of the policed pod, Address the one of it that is meant.
	Pod     string `json:"pod"`
	Address string `json:"address"`
	Peer    string `json:"peer"`
	// Direction is "ingress" or "egress", as the pod sees it.
	Direction string `json:"direction"`
	// Protocol is an IANA number; Port is the destination's.
	Protocol uint8  `json:"protocol"`
	Port     uint16 `json:"port"`

	// Policed: some policy says something of the direction.
	Policed bool `json:"policed"`
	Allow   bool `json:"allow"`
	// Why is what decides; empty: nothing forbids it.
	Why string `json:"why,omitempty"`
	// Always says why no policy is asked of such a connection, which is allowed whatever Allow
	// and Kernel say; empty: they are asked.
	Always string `json:"always,omitempty"`
	// Policies are those that are asked, in their order, with the rules up to the one that
	// decides.
	Policies []Policy `json:"policies,omitempty"`

	// Kernel is what the datapath's rows say; nil: it was not asked.
	Kernel *Kernel `json:"kernel,omitempty"`
	// Differs: the rows say something else than the policies. That is a fault of Fairlead's,
	// unless a change was just on its way.
	Differs bool `json:"differs,omitempty"`
}

// Kernel is what the datapath's rows say of a connection.
type Kernel struct {
	Policed bool   `json:"policed"`
	Allow   bool   `json:"allow"`
	Why     string `json:"why,omitempty"`
}

// Policy is one that is asked for a connection.
type Policy struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Tier is admin, namespace or baseline; Priority is of the first and the last.
	Tier     string `json:"tier"`
	Priority int32  `json:"priority,omitempty"`
	Rules    []Rule `json:"rules,omitempty"`
	// Skipped says why it is not asked; empty: it is.
	Skipped string `json:"skipped,omitempty"`
}

// Rule is one that a connection is held against.
type Rule struct {
	Place  uint32 `json:"place"`
	Name   string `json:"name,omitempty"`
	Action string `json:"action"`
	// Peer and Port say whether these match, the others why, or why not.
	Peer    bool   `json:"peer"`
	PeerWhy string `json:"peerWhy"`
	Port    bool   `json:"port"`
	PortWhy string `json:"portWhy"`
	// Decides: it is the one.
	Decides bool `json:"decides,omitempty"`
}

// Node is what a node enforces.
type Node struct {
	Node string `json:"node"`
	// InForce: all that is known is in force. NotInForce says why it is not.
	InForce    bool   `json:"inForce"`
	NotInForce string `json:"notInForce,omitempty"`
	Policies   int    `json:"policies"`
	PeerSets   int    `json:"peerSets"`
	Addresses  int    `json:"addresses"`
	Pods       []Pod  `json:"pods"`
	Maps       []Map  `json:"maps,omitempty"`
}

// Pod is a pod of the node.
type Pod struct {
	Pod       string   `json:"pod"`
	Addresses []string `json:"addresses"`
	// Ingress and Egress say whether the direction is policed.
	Ingress bool `json:"ingress"`
	Egress  bool `json:"egress"`
	// Policies select it: "NetworkPolicy namespace/name".
	Policies []string `json:"policies,omitempty"`
	// Closed says why nothing may pass; empty: policies decide.
	Closed string `json:"closed,omitempty"`
}

// Map is how full a map of policies is.
type Map struct {
	Name string `json:"name"`
	Used int    `json:"used"`
	Max  int    `json:"max"`
}

// Drop is packets of one sort that were dropped.
type Drop struct {
	Node   string `json:"node,omitempty"`
	Hook   string `json:"hook"`
	Reason string `json:"reason"`
	// Direction is "ingress" or "egress" where a policy dropped it.
	Direction string `json:"direction,omitempty"`
	// Why is the policy and rule; empty: none is known.
	Why         string    `json:"why,omitempty"`
	Kind        string    `json:"kind,omitempty"`
	Namespace   string    `json:"namespace,omitempty"`
	Name        string    `json:"name,omitempty"`
	Source      string    `json:"source"`
	Destination string    `json:"destination"`
	Protocol    uint8     `json:"protocol"`
	Bytes       uint32    `json:"bytes"`
	At          time.Time `json:"at"`
}
