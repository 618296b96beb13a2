// SPDX-License-Identifier: Apache-2.0

// Package policyscale measures what network policies cost a controller with many agents: its own
// index, store and server, in this process, and simulated agents, in another, each on a gRPC stream
// of its own, which acknowledge all that they are told and keep nothing.
//
// What is before the index (the API server, informers and their caches) and what an agent does with
// what it is told are not part of it; test/bench/policy has the whole way, on few nodes.
package policyscale
