// SPDX-License-Identifier: Apache-2.0

// Package fleet gives the operator its connections to the clusters of the fleet, and holds
// what it watches of them. Cluster API's clustercache, of which it is the only importer,
// connects and probes; a mirror holds objects, at a tenth of the memory of informers. It turns
// everything that can be wrong with a cluster's kubeconfig or API server into one *Problem that
// names the object, the key and the fix.
//
// A cluster that is away costs nobody a worker: callers get a *Problem at once and
// are woken by Source when the cluster answers again. It must not decide what is
// done in a cluster.
package fleet
