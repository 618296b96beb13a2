// SPDX-License-Identifier: Apache-2.0

// Package addresspool decides which Service of type LoadBalancer has which address, and
// which nodes may announce it. It is pure: AddressPools, Services and what the cluster
// itself uses go in, assignments and findings come out, the same ones for the same input.
//
// What a Service has it keeps, as long as a pool has the address and selects the Service:
// the memory is status.loadBalancer of the Services themselves, so that nothing is lost
// when the controller restarts. The package knows no client and no clock.
package addresspool
