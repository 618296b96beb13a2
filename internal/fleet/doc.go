// SPDX-License-Identifier: Apache-2.0

// Package fleet gives the operator its connections to the clusters of the fleet, and
// holds what it watches of them: link.go connects and probes each cluster by itself,
// mirror.go and part.go hold objects. It turns everything that can be wrong with a
// cluster's kubeconfig or API server into one *Problem that names the object, the key
// and the fix.
//
// A cluster that is away costs nobody a worker: callers get a *Problem at once and
// are woken by Source when the cluster answers again. It must not decide what is
// done in a cluster.
//
// A cluster costs little (test/scale has the figures), which is why Cluster API's
// clustercache and informers are not used here: see docs/design/0005-rollouts.md.
package fleet
