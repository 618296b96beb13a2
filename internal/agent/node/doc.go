// SPDX-License-Identifier: Apache-2.0

// Package node brings what the controller sends for this node into force: it
// opens the datapath, keeps the peers' routes, starts the endpoints and, once
// all of that holds, tells the container runtime by writing the CNI
// configuration. It decides the order; the kernel is package datapath's.
package node
