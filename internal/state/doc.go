// SPDX-License-Identifier: Apache-2.0

// Package state holds Fairlead's own xDS resource types, the messages that a
// controller serves to its agents, and the enrollment call. It owns the .proto
// file, the Go code generated from it, and the type URLs; it must not hold
// behaviour beyond encoding.
package state

//go:generate ./gen.sh
