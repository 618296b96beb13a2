// SPDX-License-Identifier: Apache-2.0

// Package helm is the only importer of helm.sh/helm: it loads charts that are
// embedded in the binary, and installs, upgrades and removes their releases in one
// cluster at a time.
//
// It waits for nothing and decides nothing: which action is due is the matter of
// internal/release, and readiness is read from the objects themselves. CRDs of a
// chart are handed out (Chart.CRDs), never installed, because Helm would not
// upgrade them.
package helm
