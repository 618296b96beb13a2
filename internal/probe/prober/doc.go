// SPDX-License-Identifier: Apache-2.0

// Package prober is the program in each probe's pod: it sends packets as workloads do, to
// pods of other nodes, to the cluster's name servers and through a Service, and also where a
// NetworkPolicy forbids it, and reports what became of them (package probe).
//
// A probe is one file and a line in probes. The package must not judge what it measures, and
// needs no right but to read the EndpointSlices of its own Service.
package prober
