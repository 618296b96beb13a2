// SPDX-License-Identifier: Apache-2.0

// Package sim plays the API servers of many clusters in one process: as much of one as the
// operator uses, with agents that do what they are told at once.
//
// What a real API server serves is asked of one, once. Objects are kept as they are written:
// there is no validation, there are no defaults, and applying merges maps and replaces lists.
// It must not know what the operator is.
package sim
