// SPDX-License-Identifier: Apache-2.0

// Package tenancy tests, against a real API server, who may change what: the roles of
// config/samples/tenancy, and the policy that keeps ClusterStacks the operator's.
package tenancy
