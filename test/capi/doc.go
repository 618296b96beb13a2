// SPDX-License-Identifier: Apache-2.0

// Package capi brings Cluster API's own managers to an API server that has nothing: it builds
// them from their modules (test/capi/tools) and installs their kinds and webhooks, which are
// reached by URL because no Service is needed for that.
//
// It must not start anything: test/capi/run does on this machine, the lab in one of its machines.
package capi
