// SPDX-License-Identifier: Apache-2.0

// Package fleet puts the objects into the lab's API servers that a cluster has when it is new:
// CoreDNS in the workload clusters; Cluster API's CRDs, Cluster objects and kubeconfig Secrets on the hub.
package fleet
