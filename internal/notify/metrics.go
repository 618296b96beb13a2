// SPDX-License-Identifier: Apache-2.0

package notify

import "github.com/prometheus/client_golang/prometheus"

// metrics are what becomes of events.
type metrics struct {
	sent, retries prometheus.Counter
	// dropped by reason: queue_full, sink_away, refused or invalid.
	dropped *prometheus.CounterVec
	queued  prometheus.GaugeFunc
}

func newMetrics(queued func() float64) *metrics {
	return &metrics{
		sent:    prometheus.NewCounter(prometheus.CounterOpts{Name: "fairlead_cloudevents_sent_total", Help: "Events that the sink has taken."}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{Name: "fairlead_cloudevents_retries_total", Help: "Attempts that failed and were repeated."}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_cloudevents_dropped_total", Help: "Events that the sink did not get, by reason."}, []string{"reason"}),
		queued:  prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "fairlead_cloudevents_queued", Help: "Events that wait for those before them."}, queued),
	}
}

// Describe is prometheus.Collector's.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range []prometheus.Collector{m.sent, m.retries, m.dropped, m.queued} {
		c.Describe(ch)
	}
}

// Collect is prometheus.Collector's.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{m.sent, m.retries, m.dropped, m.queued} {
		c.Collect(ch)
	}
}
