// SPDX-License-Identifier: Apache-2.0

// Package fleetmetrics is the fleet for Prometheus: rollouts, waves and clusters, read from
// the manager's cache when it is scraped. The number of series is bounded, however many
// clusters there are.
//
// It must not count anything itself: what is not in an object's status is no metric here.
package fleetmetrics
