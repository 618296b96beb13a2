// SPDX-License-Identifier: Apache-2.0

// Package turn sees to it that one agent at a time serves a node, and that at most one
// other stands by to come after it.
//
// It owns the two lock files of a node's agents, in a folder of the node that all of them
// see. Whoever ends, by whatever cause, has let go of its locks: the kernel does that.
//
// It must not know what an agent does in its turn, or before.
package turn
