// SPDX-License-Identifier: Apache-2.0

// Package addressing decides which cluster of a fleet has which number and which ranges of
// addresses: for pods, Services and load balancers, of both families. It is pure: pools and
// what clusters hold go in, what a cluster gets and what pools have left come out, the same
// for the same input.
//
// No two clusters hold addresses in common, whatever they use them for: that is what lets them
// be joined into a mesh at any later time. What a cluster gives back rests for a while before
// another one gets it, as peers may still send there.
//
// The package knows no client, and no clock but the time that it is given.
package addressing
