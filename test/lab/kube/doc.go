// SPDX-License-Identifier: Apache-2.0

// Package kube says how Kubernetes runs on the lab's machines: which services, with which flags,
// configuration files and credentials, and how Cluster API does on the hub's. It writes files and
// returns service lists; it starts nothing.
package kube
