// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-io/fairlead/internal/agent/pathmtu"
)

// PathStatus is what is known of the path to a peer.
type PathStatus struct {
	Node string `json:"node"`
	// State is reduced or unknown.
	State string `json:"state"`
	// MTU is the largest packet that arrives, in bytes; 0 when it is unknown.
	MTU int `json:"mtu,omitempty"`
}

// States of a path, for people and as labels.
const (
	pathFull    = "full"
	pathReduced = "reduced"
	pathUnknown = "unknown"
)

// maxPaths bounds the peers that the status names.
const maxPaths = 50

func stateOf(p pathmtu.Path) string {
	switch {
	case p.MTU == 0:
		return pathUnknown
	case p.Reduced:
		return pathReduced
	}
	return pathFull
}

// narrow returns the paths that a person should know of, reduced ones first, and how
// many are left out.
func narrow(paths []pathmtu.Path) (named []PathStatus, more int) {
	named = []PathStatus{}
	for _, state := range []string{pathReduced, pathUnknown} {
		for _, p := range paths {
			if stateOf(p) == state {
				named = append(named, PathStatus{Node: p.Peer, State: state, MTU: p.MTU})
			}
		}
	}
	if len(named) > maxPaths {
		return named[:maxPaths], len(named) - maxPaths
	}
	return named, 0
}

var peersDesc = prometheus.NewDesc("fairlead_agent_peers",
	"Other nodes, by what is known of the path to them: full (all that the uplink sends arrives), reduced, unknown.", []string{"path_mtu"}, nil)

// pathCollector counts peers at the time of a scrape.
type pathCollector struct{ paths *pathmtu.Prober }

func (c *pathCollector) Describe(ch chan<- *prometheus.Desc) { ch <- peersDesc }

func (c *pathCollector) Collect(ch chan<- prometheus.Metric) {
	count := map[string]int{pathFull: 0, pathReduced: 0, pathUnknown: 0}
	for _, p := range c.paths.Paths() {
		count[stateOf(p)]++
	}
	for state, n := range count {
		ch <- prometheus.MustNewConstMetric(peersDesc, prometheus.GaugeValue, float64(n), state)
	}
}
