// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// ConditionDisjoint of a FleetPool is False while two clusters have some of the same addresses.
// Its other conditions are Accepted, Available and Ready.
const ConditionDisjoint = "Disjoint"

// Reasons of a FleetPool's conditions, beside ReasonAccepted and ReasonPoolInvalid.
const (
	// ReasonOtherFleetPool says that an older FleetPool of the namespace counts, or that one of
	// another namespace has some of the addresses or numbers.
	ReasonOtherFleetPool = "OtherFleetPool"
	// ReasonFleetPoolExhausted says that a class of clusters can get no range.
	ReasonFleetPoolExhausted = "Exhausted"
	// ReasonFleetPoolRunsOut says that a class of clusters runs out of ranges within 30 days if
	// clusters come as they did.
	ReasonFleetPoolRunsOut = "RunsOut"
	// ReasonFleetPoolAvailable says that there are ranges for every class of clusters.
	ReasonFleetPoolAvailable = "RangesAvailable"
	// ReasonOverlaps says that clusters have addresses in common.
	ReasonOverlaps = "ClustersOverlap"
	// ReasonDisjoint says that no two clusters have an address in common.
	ReasonDisjoint = "NoOverlap"
	// ReasonClustersWait says that Clusters get nothing; status.waiting says why.
	ReasonClustersWait = "ClustersWait"
	// ReasonFleetPoolReady says that every Cluster that wants addresses has them.
	ReasonFleetPoolReady = "FleetPoolReady"
)
