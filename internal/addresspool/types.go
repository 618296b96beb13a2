// SPDX-License-Identifier: Apache-2.0

package addresspool

import (
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

// Pool is an AddressPool.
type Pool struct {
	Name    string
	Created time.Time
	// Ranges are spec.addresses as they are written.
	Ranges []string
	// Selector selects Services by their labels.
	Selector labels.Selector
	// Namespaces are those whose Services the pool serves; empty: all.
	Namespaces []string
	// Auto gives addresses to Services that name neither pool nor address.
	Auto bool
}

// Service is a Service that wants addresses: of type LoadBalancer, and of ours.
type Service struct {
	Namespace, Name string
	Created         time.Time
	Labels          labels.Set
	// IPv4 and IPv6 say of which families it wants an address.
	IPv4, IPv6 bool
	// Optional is the family that it can do without (ipFamilyPolicy PreferDualStack): 4 or 6; 0: none.
	Optional int
	// Pool is the one pool that its addresses may be of; empty: any.
	Pool string
	// Requested are the addresses that it asks for, as they are written; empty: any.
	Requested []string
	// SharingKey lets Services of a namespace share an address; empty: it shares with nobody.
	SharingKey string
	// Local: externalTrafficPolicy Local. It shares with nobody: the nodes that have
	// endpoints of one Service need have none of the other.
	Local bool
	Ports []Port
	// Has are the addresses in its status.
	Has []netip.Addr
}

// Key is "namespace/name".
func (s *Service) Key() string { return s.Namespace + "/" + s.Name }

// Port is a port of a Service.
type Port struct {
	Protocol string // TCP, UDP, SCTP
	Number   uint16
}

// Taken are addresses of the cluster itself, which no Service may have.
type Taken struct {
	Prefix netip.Prefix
	// Owner says whose it is, in words: "node n1's address".
	Owner string
}

// Problem says why a Service, or a pool, does not get all of what it wants.
type Problem struct {
	// Reason is one of api/v1alpha1's.
	Reason string
	// Message names the field and the fix.
	Message string
}

// Assignment is what a Service gets: addresses in the order IPv4, IPv6.
type Assignment struct {
	Addresses []netip.Addr
	// Problem is nil when nothing is missing.
	Problem *Problem
}

// Counts counts addresses of one family. What does not fit is the largest that does.
type Counts struct {
	Total, Assigned, Free int64
}

// PoolState is how far a pool is used.
type PoolState struct {
	IPv4, IPv6 Counts
	// Accepted is nil when all of the pool's spec can be used.
	Accepted *Problem
	// Waiting are Services that found the pool exhausted, sorted; at most 10 of them.
	Waiting []string
}

// Result is a complete decision.
type Result struct {
	Services map[string]Assignment // by Service.Key
	Pools    map[string]PoolState  // by name
}
