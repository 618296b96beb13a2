// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// ConditionAvailable of an AddressPool is True while no Service waits for one of its
// addresses. Its other conditions are Accepted and Ready.
const ConditionAvailable = "Available"

// ConditionAddressAssigned is a condition of Services (status.conditions). It is True when
// the Service has its addresses from AddressPools. A Service that has it is Fairlead's:
// without it, what status.loadBalancer says is somebody else's and left alone.
const ConditionAddressAssigned = "fairlead.io/AddressAssigned"

// Reasons of AddressPool's conditions, beside ReasonAccepted.
const (
	// ReasonPoolInvalid says that the spec has a fault that the message names. Addresses
	// that were given away stay, no others are given.
	ReasonPoolInvalid = "Invalid"
	// ReasonPoolOverlaps says that an older AddressPool has some of the addresses.
	// Addresses that were given away stay, no others are given.
	ReasonPoolOverlaps = "OverlapsOtherPool"
	// ReasonPoolCollides says that some of the addresses are a node's or a pod range's;
	// those are left out.
	ReasonPoolCollides = "CollidesWithCluster"
	// ReasonPoolExhausted says that a Service waits since no address is free.
	ReasonPoolExhausted = "Exhausted"
	// ReasonPoolAvailable says that no Service waits for an address.
	ReasonPoolAvailable = "AddressesAvailable"
	// ReasonPoolReady says that the pool does what its spec says.
	ReasonPoolReady = "PoolReady"
)

// Reasons of ConditionAddressAssigned.
const (
	// ReasonAssigned says that the Service has all of its addresses.
	ReasonAssigned = "Assigned"
	// ReasonNoPool says that no AddressPool selects the Service, or that the one it names
	// does not.
	ReasonNoPool = "NoAddressPool"
	// ReasonAddressesExhausted says that the pools that select the Service have none left.
	ReasonAddressesExhausted = "AddressesExhausted"
	// ReasonAddressInvalid says that an annotation, or spec.loadBalancerIP, asks for
	// something that is no address, or that no pool can give.
	ReasonAddressInvalid = "RequestInvalid"
	// ReasonAddressTaken says that another Service has the address that this one asks for.
	ReasonAddressTaken = "AddressTaken"
)
