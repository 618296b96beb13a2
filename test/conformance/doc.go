// SPDX-License-Identifier: Apache-2.0

// Package conformance runs Kubernetes' own end-to-end specs about the pod network against the lab's
// clusters. The specs are built from upstream's module (folder e2e), and so is the image that their
// pods run.
package conformance
