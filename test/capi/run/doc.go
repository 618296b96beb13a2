// SPDX-License-Identifier: Apache-2.0

// Package run runs Cluster API's managers as processes of this machine, against an API server
// that reaches them at 127.0.0.1. They die with the process that started them.
//
// It must not know what the clusters are that they make, or who else answers Cluster API.
package run
