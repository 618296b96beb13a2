// SPDX-License-Identifier: Apache-2.0

// Package plan decides what a lab consists of: clusters, machines, names and addresses, all derived
// from a few settings.
//
// It is pure: it takes values and returns values. It must not touch the kernel, the file system or
// the environment (FromEnv is handed a lookup function).
package plan
