// SPDX-License-Identifier: Apache-2.0

package datapath

import "net/netip"

// RulesetID names what is allowed for one direction of a pod, ClassID the addresses that
// are members of the same peer sets and networks, and PortTableID what becomes of the ports of a
// class under a ruleset. They are digests of what they name, with the node's secret (see
// Datapath.PolicySeed), so equal ones have equal content on this node, before and after a
// restart of the agent, and rows need no numbers to be given out. 0 is none: a pod without a
// ruleset is not policed, class 0 is whoever is in no other.
type (
	RulesetID   uint64
	ClassID     uint64
	PortTableID uint64
	// CauseID names, in verdicts, events and traces, the rule that decided.
	CauseID uint64
)

// RulesetClass is a ruleset towards a class of peers.
type RulesetClass struct {
	Ruleset RulesetID
	Class   ClassID
}

// PortVerdict is what becomes of connections to some ports.
type PortVerdict struct {
	// Protocol is an IANA number; 0 is every protocol that has no verdict of its own (First
	// and Last are 0 then).
	Protocol uint8
	// First to Last are the ports; 0 to 65535 is all of them. Those of one table are
	// disjoint.
	First, Last uint16
	Allow       bool
	Cause       CauseID
}

// PodPolicy are the rulesets of a pod. 0: the direction is not policed.
type PodPolicy struct {
	Ingress, Egress RulesetID
}

// PolicyUpdate is a change of what is enforced on the node's pods.
type PolicyUpdate struct {
	// PortTables that are new, each complete: a port without a verdict is denied.
	PortTables map[PortTableID][]PortVerdict
	// Tables say which table a ruleset has for a class; that of class 0 stands for every class
	// that has none. Where there is neither, everything is denied.
	Tables map[RulesetClass]PortTableID
	// Classes of addresses: the longest prefix that contains an address decides.
	Classes map[netip.Prefix]ClassID
	// Pods by their addresses, also ones that are yet to be connected.
	Pods map[netip.Addr]PodPolicy

	// What is no more.
	GonePortTables []PortTableID
	GoneTables     []RulesetClass
	GoneClasses    []netip.Prefix
	GonePods       []netip.Addr

	// Complete: this is all there is, and what an earlier run left goes.
	Complete bool
	// Narrower: something that was allowed until now may not be any more, so established
	// connections are judged anew. What is refused is judged by each packet in any case.
	Narrower bool
}

// Direction is that of a connection, as the pod sees it that is policed.
type Direction uint8

// Directions.
const (
	Ingress Direction = iota + 1
	Egress
)

// PolicyQuery is a connection that is asked about.
type PolicyQuery struct {
	// Pod is the policed pod's address, Peer that of the other end.
	Pod, Peer netip.Addr
	Direction Direction
	Protocol  uint8
	// Port is that of the connection's destination.
	Port uint16
}

// PolicyVerdict is what the kernel's rows say of a connection.
type PolicyVerdict struct {
	// Policed: the pod has a ruleset for the direction.
	Policed bool
	Allow   bool
	// Cause of a verdict; 0: no row says anything, or nothing is policed.
	Cause   CauseID
	Ruleset RulesetID
	Class   ClassID
	Table   PortTableID
}

// Drop is a packet that a program dropped.
type Drop struct {
	// Hook and Reason as in Counter.
	Hook, Reason string
	// Cause: the rule, where a policy dropped it; 0: no rule matched, or there is no policy.
	Cause CauseID
	// Direction in which a policy dropped it; 0: none did.
	Direction Direction
	Source    netip.AddrPort
	Dest      netip.AddrPort
	Protocol  uint8
	// Bytes is the packet's length.
	Bytes uint32
}
