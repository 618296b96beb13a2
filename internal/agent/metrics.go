// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/fairlead-io/fairlead/internal/agent/endpoint"
	"github.com/fairlead-io/fairlead/internal/agent/pathmtu"
	agentsync "github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/version"
)

// metrics is the agent's Prometheus side. The number of series is bounded: no
// label holds a pod, a peer or anything else that a user can make many of.
type metrics struct {
	registry *prometheus.Registry
	cni      *prometheus.HistogramVec
}

func newMetrics(manager *endpoint.Manager, dp *datapathHolder, stream *agentsync.Client, paths *pathmtu.Prober) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		cni: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fairlead_agent_cni_request_seconds",
			Help:    "Time that the agent worked on a CNI request.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .25, 1, 5, 30},
		}, []string{"command", "result"}),
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fairlead_agent_build_info", Help: "1, labelled with the agent's version.",
		ConstLabels: prometheus.Labels{"version": version.Version},
	}, func() float64 { return 1 })
	connected := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fairlead_agent_controller_connected", Help: "1 while the agent is subscribed to a controller.",
	}, func() float64 {
		if stream.Status().Connected {
			return 1
		}
		return 0
	})
	m.registry.MustRegister(m.cni, build, connected, &nodeCollector{manager: manager, dp: dp}, &pathCollector{paths},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) observeCNI(command string, took time.Duration, err error) {
	result := "success"
	if err != nil {
		result = "error"
	}
	m.cni.WithLabelValues(command, result).Observe(took.Seconds())
}

var (
	endpointsDesc = prometheus.NewDesc("fairlead_agent_endpoints", "Pod interfaces that the agent has connected.", nil, nil)
	usedDesc      = prometheus.NewDesc("fairlead_agent_pod_addresses_used", "Pod addresses in use.", []string{"range"}, nil)
	totalDesc     = prometheus.NewDesc("fairlead_agent_pod_addresses_total", "Pod addresses that the node's range has.", []string{"range"}, nil)
	packetsDesc   = prometheus.NewDesc("fairlead_datapath_packets_total", "Packets by hook and what became of them.", []string{"hook", "reason"}, nil)
	flowsDesc     = prometheus.NewDesc("fairlead_datapath_flow_events_total", "What happened to rows of the table of connections.", []string{"event"}, nil)
	rowsDesc      = prometheus.NewDesc("fairlead_datapath_flow_rows", "Rows of the table of connections, by state; read at most twice a minute.", []string{"state"}, nil)
	bytesDesc     = prometheus.NewDesc("fairlead_datapath_bytes_total", "Bytes by hook and what became of their packets.", []string{"hook", "reason"}, nil)
)

// nodeCollector reads what others count at the time of a scrape.
type nodeCollector struct {
	manager *endpoint.Manager
	dp      *datapathHolder
}

func (c *nodeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{endpointsDesc, usedDesc, totalDesc, packetsDesc, bytesDesc, flowsDesc, rowsDesc} {
		ch <- d
	}
}

func (c *nodeCollector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(endpointsDesc, prometheus.GaugeValue, float64(len(c.manager.Records())))
	for _, u := range c.manager.Usage() {
		ch <- prometheus.MustNewConstMetric(usedDesc, prometheus.GaugeValue, u.Used, u.Prefix.String())
		ch <- prometheus.MustNewConstMetric(totalDesc, prometheus.GaugeValue, u.Total, u.Prefix.String())
	}
	counts, err := c.dp.counts()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(packetsDesc, err)
		return
	}
	for _, e := range counts.events {
		ch <- prometheus.MustNewConstMetric(flowsDesc, prometheus.CounterValue, float64(e.Count), e.Event)
	}
	for state, n := range counts.rows {
		ch <- prometheus.MustNewConstMetric(rowsDesc, prometheus.GaugeValue, float64(n), state)
	}
	for _, k := range counts.packets {
		ch <- prometheus.MustNewConstMetric(packetsDesc, prometheus.CounterValue, float64(k.Packets), k.Hook, k.Reason)
		ch <- prometheus.MustNewConstMetric(bytesDesc, prometheus.CounterValue, float64(k.Bytes), k.Hook, k.Reason)
	}
}
