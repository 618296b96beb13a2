// SPDX-License-Identifier: Apache-2.0

package interest

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	inForce       *prometheus.HistogramVec
	pending       prometheus.Gauge
	changeSeconds prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		inForce: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "fairlead", Subsystem: "policy", Name: "in_force_seconds",
			Help:    "Time from seeing a generation of a policy until the last connected agent that it concerns had acknowledged it, by kind.",
			Buckets: []float64{.001, .0025, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}, []string{"kind"}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "fairlead", Subsystem: "policy", Name: "pending",
			Help: "Policies whose newest generation some connected agent has not acknowledged yet.",
		}),
		changeSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "fairlead", Subsystem: "policy", Name: "change_seconds",
			Help:    "Time that it takes to compute a change of policies, or of those whom they mean, and to put it into the store.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, 1},
		}),
	}
	if reg != nil {
		reg.MustRegister(m.inForce, m.pending, m.changeSeconds)
	}
	return m
}
