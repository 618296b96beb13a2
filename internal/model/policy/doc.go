// SPDX-License-Identifier: Apache-2.0

// Package policy computes from a cluster's pods, namespaces, nodes and policies what each
// node's agent must know to enforce policies on its own pods, and nothing else: the subjects
// of the node, the policies that select them, and the addresses that those policies name.
//
// It is pure and incremental: values in, encoded resources out, and a change costs what it
// touches. It must not know of clients, subscribers or the clock.
//
// How it works:
//
//   - Equal selectors are one group, whoever uses them: as the subject of a policy, as its
//     peer, or both. Groups are found by a label that their members must have, so that a
//     pod's change looks at few of them.
//   - A group that is a peer has a set of addresses, cut in blocks of some 64 pods by a hash of
//     the pod's name. A pod's change is one block of each of its sets.
//   - A named port of an egress rule makes the group one set for each number that the pods
//     have under the name.
//   - Nodes that a policy names are members as pods are, in a namespace that cannot be.
//
// A rule with a part that cannot be used fails closed as a whole, as the API of
// ClusterNetworkPolicy has it: one that accepts matches nothing, one that denies or passes
// denies everybody. A policy whose subject cannot be read selects no pod: it might mean the
// whole cluster. The rest of the policy goes on, and a Finding says what to do.
package policy
