// SPDX-License-Identifier: Apache-2.0

// Package endpoint owns the pods' attachments of one node: it assigns addresses
// (package ipam), has the datapath connect and disconnect them, and keeps one
// record a pod interface on disk, so that a restarted agent knows them all. What
// a CNI command means is decided here; what it does to the kernel is package
// datapath's, and what network policies say of a pod is known to whoever
// implements Policies: an ADD waits for them before the pod has its interface.
package endpoint
