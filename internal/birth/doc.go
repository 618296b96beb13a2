// SPDX-License-Identifier: Apache-2.0

// Package birth settles a cluster's number and addresses before its first machine boots, and
// answers Cluster API's Runtime SDK: it holds what must not happen yet, and says why on the
// Cluster (docs/design/0006-birth.md).
//
// What clusters hold is written to the status of their namespace's FleetPool first, with its
// resource version (ledger.go), and to the Cluster then (give.go); which addresses those are is
// decided by internal/addressing. Every hook is idempotent: Cluster API asks again after a
// timeout, and nothing is taken twice. It must not reach a workload cluster.
package birth
