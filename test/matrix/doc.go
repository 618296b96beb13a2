// SPDX-License-Identifier: Apache-2.0

// Package matrix proves connectivity on a real cluster: it deploys probes (two
// pods and one host-network pod on every node, a Service over the pods) and has
// each reach all others over TCP, UDP and ICMP, IPv4 and IPv6, by address and by
// Service, and the outside. The demo prints its table, the end-to-end tests
// assert on it.
package matrix
