// SPDX-License-Identifier: Apache-2.0

// Package births keeps the book of the clusters that Cluster API makes in a lab: which numbers they and
// their nodes have, and which versions. It outlives the supervisor, so that a machine that comes back
// has its address.
//
// One process writes the book, the supervisor; every command of the lab reads it. The package knows
// nothing of Cluster API's objects and starts nothing.
package births
