// SPDX-License-Identifier: Apache-2.0

// Package scale measures what a fleet costs the operator: the real program, in a process of
// its own, with a real management cluster and clusters that test/scale/sim plays, or that
// share one real API server by test/scale/shared. test/scale/front is where the operator
// reaches them, and has some of them fall ill.
package scale
