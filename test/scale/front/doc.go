// SPDX-License-Identifier: Apache-2.0

// Package front gives each of many clusters an address and credentials of its own, counts
// what it is sent, and has it fall ill and get well again.
//
// What stands behind an address is a handler: test/scale/sim plays an API server,
// test/scale/shared presents a part of a real one. Front must not know what is asked.
package front
