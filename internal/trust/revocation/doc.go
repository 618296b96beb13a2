// SPDX-License-Identifier: Apache-2.0

// Package revocation is the list of certificate authorities that nobody in a fleet
// accepts any more: its text, its file as a kubelet mounts it, and the question whether
// a peer's chain has one of them. It must not know who revokes, or how the list gets to
// the clusters.
//
// An authority is named by the SHA-256 of its public key (the DER of
// SubjectPublicKeyInfo), and not by that of its certificate: an ECDSA signature can be
// written in two ways, so that whoever holds a certificate can make another of it that
// is as good and has another fingerprint. The key is within what is signed.
package revocation
