// SPDX-License-Identifier: Apache-2.0

// Package pathmtu finds the largest IP packet that the network carries to each peer
// node. Nodes with larger uplinks than their peers, or a narrower link between them,
// otherwise lose large packets and nothing else, which is hard to find.
//
// It needs no privilege: a UDP packet that must not be fragmented goes to a port of the
// peer where nothing listens, and the peer's kernel answers "port unreachable", which
// proves that a packet of that size arrived. A router that cannot pass it on answers
// "fragmentation needed"; a switch drops it in silence. A peer that answers nothing is
// behind a filter, and nothing is known of it.
//
// What to try next (search) and when (book) are pure; Sockets is the network. The
// package must not know what is done with its findings.
package pathmtu
