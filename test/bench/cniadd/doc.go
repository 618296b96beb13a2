// SPDX-License-Identifier: Apache-2.0

// Package cniadd measures what a pod's network costs a node: how long a plugin's ADD
// takes, from its start to its end, and how much memory the agent needs.
//
// The agent is the real one, in a process of its own: it starts, as after a power cut,
// on the state that it saved, and no API server or controller answers. The reference is
// the bridge plugin with host-local.
package cniadd
