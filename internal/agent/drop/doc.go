// SPDX-License-Identifier: Apache-2.0

// Package drop remembers which packets the node dropped and why: the last ones for people,
// and counts for Prometheus. It owns the words that a drop is told in. It takes drops as the
// datapath reports them, and must not know how those come.
package drop
