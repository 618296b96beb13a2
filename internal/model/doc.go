// SPDX-License-Identifier: Apache-2.0

// Package model computes from a cluster's Nodes, Pods, Services and
// EndpointSlices what its agents must
// know. It is pure: values in, encoded resources and findings out, with no client
// and no I/O, and the same input gives the same bytes on every replica. Bad input
// becomes a Finding; the rest goes on.
package model

import (
	"net/netip"
	"time"

	"github.com/fairlead-io/fairlead/internal/state"
)

// Node is what the model needs of a Node object.
type Node struct {
	Name    string
	Created time.Time
	// PodCIDRs as in spec.podCIDRs.
	PodCIDRs []string
	// InternalIPs are the addresses of type InternalIP, in the object's order.
	InternalIPs []string
	// Zone as in the label topology.kubernetes.io/zone.
	Zone string
}

// Pod is what the model needs of a Pod object that is bound to a node.
type Pod struct {
	Namespace, Name, UID string
	HostNetwork          bool
	// Finished: the pod has succeeded or failed; its addresses are free again.
	Finished bool
	// IPs as in status.podIPs.
	IPs []string
}

// Finding is a fault of the input, for people: which object, which field, what is
// wrong, and what to do.
type Finding struct {
	Object, Field, Message, Fix string
}

// String is the finding as one line.
func (f Finding) String() string {
	return f.Object + ": " + f.Field + ": " + f.Message + "; " + f.Fix
}

// Nodes is the result of BuildNodes.
type Nodes struct {
	// Local is every node's own resource.
	Local map[string]state.Resource
	// Peers is shared by all agents, sorted by name.
	Peers []state.Resource
	// PodCIDRs are the ranges that each node may use.
	PodCIDRs map[string][]string
	// Addresses are the nodes' own, and whose each is; Ranges are all that pods may have.
	Addresses map[netip.Addr]string
	Ranges    []netip.Prefix
	// Findings by node name; the empty name is the cluster's own configuration.
	Findings map[string][]Finding
}
