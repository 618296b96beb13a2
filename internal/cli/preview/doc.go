// SPDX-License-Identifier: Apache-2.0

// Package preview says what applying a NetworkStack would do: wave by wave, which clusters
// change and how, which stay as they are, and why.
//
// It is pure: objects in, text out. What each cluster shall have comes from internal/stack
// through one function (plan.go), so that what is shown is what the operator does.
package preview
