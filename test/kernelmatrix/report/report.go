// SPDX-License-Identifier: Apache-2.0

// Package report is how a virtual machine of the kernel matrix tells its outcome: by lines
// on its serial console, among those of the kernel and of tests.
package report

// Mark begins each line that is meant for the reader.
const Mark = "kernel-matrix: "

// The last line, after Mark, is one of these. A machine that died says neither.
const (
	Passed = "passed"
	Failed = "failed"
)
