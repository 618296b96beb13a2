// SPDX-License-Identifier: Apache-2.0

// Package stack decides what each cluster of a fleet shall have: which
// NetworkStack holds which Cluster, the resolved configuration of every held
// cluster with its digest, and the chart values that follow from it.
//
// It is pure: it takes and returns values, and must not have a client, a clock or
// any I/O. Its results are sorted, so that equal inputs give equal bytes.
package stack
