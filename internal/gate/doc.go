// SPDX-License-Identifier: Apache-2.0

// Package gate is the operator's side of the probes: the objects that run them in a cluster
// (Objects), what they reported (Collector), and whether packets arrive as before (Judge).
//
// Judging is pure and knows no probe by its name. The package must not decide what becomes
// of a cluster whose gate does not hold, or apply anything.
package gate
