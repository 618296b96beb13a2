// SPDX-License-Identifier: Apache-2.0

// Package rollout decides what a person's word about a rollout comes to: whether it can be
// said now, which annotation says it, and what a rollout's phase means for a script.
//
// It is pure: a NetworkStack in, annotations or a refusal out.
package rollout
