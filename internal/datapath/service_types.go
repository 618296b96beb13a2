// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"
	"time"
)

// Protocol is a transport protocol by its IANA number.
type Protocol uint8

// Protocols that are load-balanced.
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

// String is the protocol's name, or its number.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "TCP"
	case UDP:
		return "UDP"
	}
	return "protocol " + string('0'+p/100%10) + string('0'+p/10%10) + string('0'+p%10)
}

// Service is what this node does with a Kubernetes Service, or with a pod's host port:
// everything that depends on the node (zones, traffic policies, readiness) is decided already.
type Service struct {
	// Name is "namespace/name"; those of host ports have a prefix of their own.
	Name string
	// Frontends are its virtual addresses and ports.
	Frontends []Frontend
	// Pools are what frontends refer to by their place here.
	Pools []Pool
	// SourceRanges are the clients outside of the cluster that may use External
	// frontends; empty: all.
	SourceRanges []netip.Prefix
}

// FrontendKind says who may use a frontend.
type FrontendKind uint8

const (
	// FrontendClusterIP is for clients on this node: pods and the host itself.
	FrontendClusterIP FrontendKind = iota
	// FrontendNodePort is a port of every address of the node; Frontend.Address is the
	// unspecified address of its family.
	FrontendNodePort
	// FrontendExternal is an address of a load balancer, or an external IP.
	FrontendExternal
	// FrontendHostPort is a port of the node for one pod on it; Frontend.Address may be
	// the unspecified address.
	FrontendHostPort
)

// Frontend is a virtual address and port.
type Frontend struct {
	Address  netip.Addr
	Port     uint16
	Protocol Protocol
	Kind     FrontendKind
	// Inside is the place in Service.Pools of the backends for clients on this node,
	// Outside of those for packets that come from elsewhere.
	Inside, Outside int
	// Affinity is how long a client stays with its backend after its last connection;
	// 0: it does not. In whole seconds.
	Affinity time.Duration
	// KeepSource: packets from outside keep their client's address. All backends of
	// Outside must be on this node.
	KeepSource bool
	// DropOutside: packets from outside are dropped and not refused while Outside has
	// no backends (externalTrafficPolicy Local; another node may answer).
	DropOutside bool
}

// Pool is a set of backends, sorted by address and port, without duplicates. All are of
// the family of the frontends that refer to it. An empty pool refuses connections at once.
type Pool struct {
	Backends []Backend
}

// Backend is where connections go.
type Backend struct {
	Address netip.Addr
	Port    uint16
	// Local: on this node.
	Local bool
}

// ServiceUpdate is a change of the node's Services.
type ServiceUpdate struct {
	// Set are Services that are new or changed, each complete.
	Set []Service
	// Removed are names of Services that are no more.
	Removed []string
	// Complete: Set are all Services there are; others that an earlier run left go.
	Complete bool
	// Gone are backends that are no more: sockets that are connected to them are ended.
	Gone []Gone
}

// Gone is a backend that is no more.
type Gone struct {
	Address  netip.Addr
	Port     uint16
	Protocol Protocol
}
