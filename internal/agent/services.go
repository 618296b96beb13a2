// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/fairlead/internal/agent/endpoint"
	"github.com/fairlead-io/fairlead/internal/agent/node"
	"github.com/fairlead-io/fairlead/internal/agent/readiness"
	"github.com/fairlead-io/fairlead/internal/agent/service"
	agentsync "github.com/fairlead-io/fairlead/internal/agent/sync"
)

// podWatcher tells the Services of this node's pods.
type podWatcher struct {
	node *node.Node
	log  *slog.Logger
}

// Added implements endpoint.Watcher.
func (w podWatcher) Added(ctx context.Context, r endpoint.Record) error {
	if len(r.Ports) == 0 {
		return nil
	}
	ports := make([]service.HostPort, 0, len(r.Ports))
	for _, p := range r.Ports {
		ports = append(ports, service.HostPort{
			HostIP: p.HostIP, HostPort: p.HostPort, ContainerPort: p.ContainerPort, Protocol: p.Protocol, Pod: r.Endpoint.Addresses,
		})
	}
	return w.node.SetHostPorts(ctx, r.Key().String(), ports)
}

// Removed implements endpoint.Watcher.
func (w podWatcher) Removed(ctx context.Context, r endpoint.Record) {
	err := w.node.PodGone(ctx, r.Endpoint.Addresses)
	if err == nil && len(r.Ports) > 0 {
		err = w.node.SetHostPorts(ctx, r.Key().String(), nil)
	}
	if err != nil {
		w.log.Warn("a pod is gone, and Services may still lead to it", "pod", r.Pod.String(), "error", err)
	}
}

// localReadiness has the node's own pods count for Services while no controller answers.
func localReadiness(name string, kube *rest.Config, stream *agentsync.Client, nd *node.Node, log *slog.Logger) readiness.Config {
	return readiness.Config{
		Kube: kube, Node: name, Log: log,
		Connected: func() bool { return stream.Status().Connected },
		Set: func(ctx context.Context, pods readiness.Pods) {
			if err := nd.SetReadiness(ctx, pods); err != nil {
				log.Warn("pods of this node became ready, or did not stay so, and not all Services follow", "error", err)
			}
		},
	}
}

var (
	servicesDesc   = prometheus.NewDesc("fairlead_agent_services", "Services that this node knows.", nil, nil)
	backendsDesc   = prometheus.NewDesc("fairlead_agent_service_endpoints", "Endpoints of Services that this node knows.", nil, nil)
	mapUsedDesc    = prometheus.NewDesc("fairlead_datapath_service_map_used", "Rows in use of the maps of Services.", []string{"map"}, nil)
	mapMaximumDesc = prometheus.NewDesc("fairlead_datapath_service_map_max", "Rows that the maps of Services have.", []string{"map"}, nil)
)

// serviceMetrics are those of Services.
type serviceMetrics struct {
	node    *node.Node
	dp      *datapathHolder
	room    *room
	applied *prometheus.HistogramVec
}

func newServiceMetrics(n *node.Node, dp *datapathHolder, log *slog.Logger) *serviceMetrics {
	return &serviceMetrics{node: n, dp: dp, room: newRoom("Services", serviceRoomSetting, log), applied: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "fairlead_agent_service_update_seconds",
		Help:    "Time that a change of Services took to be in force.",
		Buckets: []float64{.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .5, 2},
	}, []string{"result"})}
}

// observe takes a change into account that has come into force. Changes come one after another.
func (m *serviceMetrics) observe(took time.Duration, err error) {
	result := "success"
	if err != nil {
		result = "error"
	}
	m.applied.WithLabelValues(result).Observe(took.Seconds())
	m.room.look(m.dp.serviceUsage())
}

// Describe implements prometheus.Collector.
func (m *serviceMetrics) Describe(ch chan<- *prometheus.Desc) {
	m.applied.Describe(ch)
	for _, d := range []*prometheus.Desc{servicesDesc, backendsDesc, mapUsedDesc, mapMaximumDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *serviceMetrics) Collect(ch chan<- prometheus.Metric) {
	m.applied.Collect(ch)
	services, endpoints := m.node.CountServices()
	ch <- prometheus.MustNewConstMetric(servicesDesc, prometheus.GaugeValue, float64(services))
	ch <- prometheus.MustNewConstMetric(backendsDesc, prometheus.GaugeValue, float64(endpoints))
	for _, u := range m.dp.serviceUsage() {
		ch <- prometheus.MustNewConstMetric(mapUsedDesc, prometheus.GaugeValue, float64(u.Used), u.Name)
		ch <- prometheus.MustNewConstMetric(mapMaximumDesc, prometheus.GaugeValue, float64(u.Max), u.Name)
	}
}

// serveServices answers what this node thinks of Services: all at /services, one at
// /services/<namespace>/<name>.
func (h *healthServer) serveServices(mux *http.ServeMux) {
	mux.HandleFunc("GET /services", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, h.node.Services()) })
	mux.HandleFunc("GET /services/{namespace}/{name}", func(w http.ResponseWriter, r *http.Request) {
		view, ok := h.node.Service(r.PathValue("namespace") + "/" + r.PathValue("name"))
		if !ok {
			http.Error(w, "this node knows no such Service", http.StatusNotFound)
			return
		}
		writeJSON(w, view)
	})
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(value) // the client left
}
