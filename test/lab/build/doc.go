// SPDX-License-Identifier: Apache-2.0

// Package build makes what a lab runs, from source: the Kubernetes and containerd binaries, CoreDNS,
// the images, and Cluster API's CRDs or its manager.
//
// Everything lands in .cache/lab/<Kubernetes version> of the checkout and is made again only when
// its own sources change.
package build
