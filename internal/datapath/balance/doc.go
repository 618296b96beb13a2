// SPDX-License-Identifier: Apache-2.0

// Package balance decides which backend a client's hash falls to, and which numbers pools,
// backends and slots have in the maps. It is pure: no kernel, no clock.
package balance
