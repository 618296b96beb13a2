// SPDX-License-Identifier: Apache-2.0

// Package service decides what a node does with the cluster's Services: which endpoints
// take the connections of clients on the node, and which those that come from outside, by
// readiness, zone, traffic policy and what the node itself knows. It does as kube-proxy
// does (Kubernetes 1.35; KEP-1669, KEP-2086, KEP-2433, KEP-3015).
//
// It is pure: no kernel, no clock, no I/O.
package service
