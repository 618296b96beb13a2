// SPDX-License-Identifier: Apache-2.0

// Package scale measures what a fleet costs the operator: the real program, in a process of
// its own, with a real management cluster and clusters that test/scale/sim plays.
package scale
