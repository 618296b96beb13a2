// SPDX-License-Identifier: Apache-2.0

// Package lab runs real Kubernetes clusters on one Linux machine: a hub and some workload clusters,
// whose machines are namespaces. See README.md.
//
// It puts the other packages of this folder together; what the lab consists of is decided in plan, and
// where Cluster API runs, by its objects (provider).
package lab
