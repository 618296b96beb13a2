// SPDX-License-Identifier: Apache-2.0

package addressing

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Use is what addresses are for.
type Use string

// The uses.
const (
	Pods          Use = "pods"
	Services      Use = "services"
	LoadBalancers Use = "loadBalancers"
)

// Uses are all uses, in the order in which they are given out.
var Uses = []Use{Pods, Services, LoadBalancers}

// Pool is where ranges for one use come from.
type Pool struct {
	Name     string
	Use      Use
	Prefixes []netip.Prefix
	// Reserved are parts of Prefixes that no cluster gets.
	Reserved []netip.Prefix
}

// Bits are lengths of prefixes, one for each family; 0 is no range of that family.
type Bits struct{ V4, V6 int }

// Sizes says how large the ranges of a cluster are.
type Sizes map[Use]Bits

// IDs are the numbers that clusters may get, First and Last too.
type IDs struct{ First, Last uint32 }

// Range is what a cluster holds for a use.
type Range struct {
	Use    Use
	Prefix netip.Prefix
}

func (r Range) String() string { return fmt.Sprintf("%s %s", r.Use, r.Prefix) }

// Holding is what a cluster holds, or held.
type Holding struct {
	// Cluster is namespace/name of the Cluster.
	Cluster string
	// UID is the Cluster's: another one of the same name is another cluster.
	UID string
	// ID is the cluster's number in the fleet, 0 for none.
	ID     uint32
	Ranges []Range
	// Since is when it was given.
	Since time.Time
	// Freed is when the cluster gave it back, zero for one that has it.
	Freed time.Time
}

// held says that the cluster has it still.
func (h *Holding) held() bool { return h.Freed.IsZero() }

// Of are the ranges for a use.
func (h *Holding) Of(u Use) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range h.Ranges {
		if r.Use == u {
			out = append(out, r.Prefix)
		}
	}
	return out
}

// Request is a cluster that asks for addresses.
type Request struct {
	Cluster, UID string
	// ID is the number that the cluster has already, 0 for none: it gets that one or none.
	ID    uint32
	Sizes Sizes
	// Named are ranges that the cluster's own object names: for a use and a family of which it
	// names one, it gets that one or none.
	Named []Range
	// Existing is a cluster that runs already: it has what it names, whoever else has it.
	Existing bool
}

// Refusal says why a cluster does not get what it asks for.
type Refusal struct {
	Cluster string
	// Use is what it does not get addresses for, "" for a number.
	Use Use
	// Named is the range that it named itself, if that is why.
	Named netip.Prefix
	// Owner is the cluster that has what it named, "" when none has.
	Owner string
	// Until is when something is free that rests now, zero for never.
	Until time.Time
	why   string
}

func (r *Refusal) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Cluster %s gets no ", r.Cluster)
	if r.Use == "" {
		b.WriteString("cluster ID")
	} else {
		fmt.Fprintf(&b, "range for %s", r.Use)
	}
	b.WriteString(": " + r.why)
	if !r.Until.IsZero() {
		fmt.Fprintf(&b, "; what rests is free again at %s", r.Until.UTC().Format(time.RFC3339))
	}
	return b.String()
}
