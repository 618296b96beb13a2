// SPDX-License-Identifier: Apache-2.0

// Package trust makes and renews the certificate authorities of a fleet: one root
// for each NetworkStack, kept in a Secret on the management cluster, and one
// intermediate for each cluster, kept in that cluster alone.
//
// It decides purely (bundle.go, decide.go) and stores the root, with the list of
// intermediates that were revoked (store.go, revoke.go). Keys are
// ECDSA P-256. No key is ever part of an error or a log line. It must not know how
// clusters are reached.
package trust
