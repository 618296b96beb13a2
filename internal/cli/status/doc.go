// SPDX-License-Identifier: Apache-2.0

// Package status is the fleet as a person wants to see it: its NetworkStacks with how far
// each rollout is, its clusters, and the text that shows them.
//
// It is pure: objects in, text out. It must not have a client, and knows no terminal.
package status
