// SPDX-License-Identifier: Apache-2.0

// Package sync is an agent's side of the delta xDS stream. It owns the stream to
// one of the cluster's controllers (which one, when to fail over), the agent's
// client certificate (enrollment, renewal, its files), and the last complete state
// on disk. It decodes and merges; what the state means for the node is the
// Handler's business, and no kernel call is made here. Of what there may be much of
// (Services, policies) a book holds the versions and a log on disk the contents.
// Pods' addresses go the other way, to every controller.
//
// An agent whose cluster was revoked ends its stream and finds no controller that it
// accepts, or that accepts it. It is cut off from news and from nothing else: the node
// goes on forwarding with the state that it has, and starts with it after a restart.
package sync
