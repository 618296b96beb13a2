// SPDX-License-Identifier: Apache-2.0

// Package policy measures, on a lab that is up, how long it takes from a write to the API until
// packets follow: of NetworkPolicies and of pods' labels. Pods send a datagram twice in a millisecond
// and tell when the first passed, or did not (test/reach); all of it goes by one machine's clock.
// It makes a namespace and removes it, and leaves the lab as it is.
package policy
