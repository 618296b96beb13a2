// SPDX-License-Identifier: Apache-2.0

// Package clustertest tests a cluster's controllers together, as they run: two
// replicas with their real rights against a real API server, and real agents'
// clients. It holds tests only.
package clustertest
