// SPDX-License-Identifier: Apache-2.0

// Package sync is an agent's side of the delta xDS stream. It owns the stream to
// one of the cluster's controllers (which one, when to fail over), the agent's
// client certificate (enrollment, renewal, its files), and the last complete state
// on disk. It decodes and merges; what the state means for the node is the
// Handler's business, and no kernel call is made here.
package sync
