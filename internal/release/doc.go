// SPDX-License-Identifier: Apache-2.0

// Package release brings one Helm release of one cluster to where it should be:
// Determine names the state that it is in, Next the one action that is due, and
// each action is a file of its own.
//
// It must not know NetworkStacks, Clusters, or how a cluster is reached, and it
// writes no status: callers read what happened from what it returns.
package release
