// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-io/fairlead/internal/state"
)

// metrics has one series a resource type at most: the label's values are the
// store's types and "other".
type metrics struct {
	subscribers prometheus.Gauge
	resources   *prometheus.GaugeVec
	responses   *prometheus.CounterVec
	sent        *prometheus.CounterVec
	acks, nacks *prometheus.CounterVec
	refused     *prometheus.GaugeVec
	ackSeconds  *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	vec := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "fairlead", Subsystem: "xds", Name: name, Help: help}, []string{"type"})
	}
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: "fairlead", Subsystem: "xds", Name: name, Help: help}
	}
	m := &metrics{
		subscribers: prometheus.NewGauge(gauge("subscribers", "Open delta xDS streams.")),
		resources:   prometheus.NewGaugeVec(gauge("resources", "Resources in the store, by type."), []string{"type"}),
		responses:   vec("responses_total", "Responses sent, by type."),
		sent:        vec("resources_sent_total", "Resources and removals sent, by type."),
		acks:        vec("acks_total", "Responses that were acknowledged, by type."),
		nacks:       vec("nacks_total", "Responses that were refused, by type."),
		refused:     prometheus.NewGaugeVec(gauge("refused_resources", "Resources held back after a refusal, over all subscribers, by type."), []string{"type"}),
		ackSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "fairlead", Subsystem: "xds", Name: "ack_seconds",
			Help:    "Time from sending a response to its acknowledgement or refusal, by type.",
			Buckets: []float64{.001, .0025, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"type"}),
	}
	if reg != nil {
		reg.MustRegister(m.subscribers, m.resources, m.responses, m.sent, m.acks, m.nacks, m.refused, m.ackSeconds)
	}
	return m
}

// label keeps the number of series bounded: subscribers choose type URLs freely.
func (s *Store) label(typeURL string) string {
	if s.known(typeURL) {
		return state.ShortType(typeURL)
	}
	return "other"
}
