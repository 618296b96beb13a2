// SPDX-License-Identifier: Apache-2.0

// Package program runs programs that tests start and measure: each dies with whoever started it,
// and what it says goes to a file.
//
// It must not know what they are.
package program
