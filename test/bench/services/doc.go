// SPDX-License-Identifier: Apache-2.0

// Package services makes subjects that balance the same Services: a node of Fairlead's,
// and nodes of kube-proxy's in both of its modes that watch a real kube-apiserver. Every
// Service has ten endpoints; those of the one that is measured, the last, are ten ports of
// one pod. It does not measure round trips itself: package rounds does, on the pairs.
package services
