// SPDX-License-Identifier: Apache-2.0

// Package continuity is a load that notices every gap: established TCP connections that
// are all used again and again, a stream of numbered datagrams, and new connections one
// after another. It is put on a path while something is done to the network, and tells
// what broke.
//
// It must not know what is done to the network, nor make networks.
package continuity
