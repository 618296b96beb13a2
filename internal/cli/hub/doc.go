// SPDX-License-Identifier: Apache-2.0

// Package hub reads and changes the management cluster's objects for fairleadctl, with the
// rights of whoever asks.
//
// It asks for fixed resources, without discovery, and decodes of a thousand ClusterStacks
// only what is shown, so that an answer is there before a person waits for it. It must not
// decide anything: what to write comes from internal/cli/rollout.
package hub
