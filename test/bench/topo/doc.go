// SPDX-License-Identifier: Apache-2.0

// Package topo builds the networks that the benchmark compares, out of network
// namespaces: pairs of pods on one node and on two. Nodes of all pairs hang on one
// underlay, so that what lies between them is the same for all.
//
// Namespaces have no names: they end with the process. BPF file systems are mounted in
// the process's own mount namespace, which the caller provides.
package topo
