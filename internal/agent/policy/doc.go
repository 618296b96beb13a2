// SPDX-License-Identifier: Apache-2.0

// Package policy decides what a node enforces on its own pods: from the policies that select
// them, and the peer sets that these name, to the rows that the datapath looks verdicts up in.
//
// A *set* is a peer set, or a network less its exceptions. A *ruleset* is all that policies
// say of one direction of a pod; pods of which the same is said share one. A *class* is a
// combination of sets that some address is in. A ruleset's verdict on a class's ports is a
// *port table*. All are named by digests of what they are, so that a row never changes its
// meaning: (ruleset, class) has one port table for ever.
//
// # What stands while an update is written
//
// The datapath writes port tables, then tables, then classes, then pods, and deletes what is
// gone. A packet may meet any state in between, and must not be let through by one:
//
//   - Rulesets that pods have just left keep their rows for one update more, and get those for
//     new classes: between the writing of classes and that of pods they meet them.
//   - Sets are left out of classes only when no such ruleset names them any more, and until
//     then keep the addresses that they had.
//   - An address that is in no set any more first gets the class of the networks around it, and
//     loses its row in the next update: what is deleted decides nothing any more.
//
// So what Take returns first is the change, and what a second Take returns, when Leftovers
// says so, is what it left over. Nothing waits for that one.
//
// The package is pure: no kernel, no clock, no I/O.
package policy
