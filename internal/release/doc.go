// SPDX-License-Identifier: Apache-2.0

// Package release brings one Helm release of one cluster to where it should be:
// Observe reads what is there, Determine names the state that it is in, Next the one action
// that is due, and each action is a file of its own. Catalogue has the charts.
//
// Objects are applied on the server, one request each, and the records of revisions are
// Helm's own. The order of an action is what lets another operator go on with one that was
// cut off: the record of the new revision (pending), its objects, the record before it
// (superseded), the record again (deployed). Whatever was reached, the newest record says
// what was meant.
//
// It must not know NetworkStacks, Clusters, or how a cluster is reached, and it
// writes no status: callers read what happened from what it returns.
package release
