// SPDX-License-Identifier: Apache-2.0

//go:build race

package prober_test

func init() { memoryKnown = false } // the race detector's is several times the program's
