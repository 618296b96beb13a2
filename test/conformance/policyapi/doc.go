// SPDX-License-Identifier: Apache-2.0

// Package policyapi wires up the conformance suite of network-policy-api, which is about
// ClusterNetworkPolicy, as one test binary. The tests come from upstream's module unchanged.
//
// It is a module of its own: its dependencies are upstream's and must not reach Fairlead's.
package policyapi
