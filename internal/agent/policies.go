// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-io/fairlead/internal/agent/endpoint"
	"github.com/fairlead-io/fairlead/internal/agent/node"
	"github.com/fairlead-io/fairlead/internal/agent/policy"
	agentsync "github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/cniapi"
)

// registrar tells controllers of pods' addresses.
type registrar interface {
	Register(context.Context, agentsync.PodAddresses) (agentsync.Registration, error)
}

// podPolicies has policies hold for pods as they come and go: it implements endpoint.Policies.
type podPolicies struct {
	node      *node.Node
	registrar registrar
	// policyWait bounds the wait for a pod's policies, peerWait that for others to know it.
	policyWait, peerWait time.Duration
	metrics              *policyMetrics
	log                  *slog.Logger
}

func newPodPolicies(cfg Config, n *node.Node, r registrar, m *policyMetrics, log *slog.Logger) *podPolicies {
	return &podPolicies{node: n, registrar: r, policyWait: cfg.PolicyWait, peerWait: cfg.PeerWait, metrics: m, log: log}
}

// Restored implements endpoint.Policies.
func (p *podPolicies) Restored(r endpoint.Record) {
	p.node.RestorePod(r.Key().String(), podOf(r.Pod, r.Endpoint.Addresses))
}

func podOf(p endpoint.Pod, addresses []netip.Addr) policy.Pod {
	return policy.Pod{Namespace: p.Namespace, Name: p.Name, UID: p.UID, Addresses: addresses}
}

// Await implements endpoint.Policies.
func (p *podPolicies) Await(ctx context.Context, a endpoint.Attachment) error {
	ctx, cancel := context.WithTimeout(ctx, p.policyWait)
	defer cancel()
	began := time.Now()
	err := p.node.AwaitPod(ctx, podOf(a.Pod, nil))
	p.metrics.waited("policies", began, err)
	if err != nil {
		return notYet(a, err)
	}
	return nil
}

func notYet(a endpoint.Attachment, err error) error {
	return cniapi.Errorf(cniapi.CodeTryAgainLater, "pod %s is not connected: %v", a.Pod, err)
}

// Prepare implements endpoint.Policies.
func (p *podPolicies) Prepare(ctx context.Context, a endpoint.Attachment, addresses []netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, p.policyWait)
	defer cancel()
	if err := p.node.PreparePod(ctx, a.Key.String(), podOf(a.Pod, addresses)); err != nil {
		return notYet(a, err)
	}
	return nil
}

// Connected implements endpoint.Policies: pods whose policies name this one get to know it
// before its first packet, if that takes no longer than is allowed.
func (p *podPolicies) Connected(ctx context.Context, r endpoint.Record) {
	if p.peerWait <= 0 || !p.node.IsPeer(podOf(r.Pod, nil)) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, p.peerWait)
	defer cancel()
	began := time.Now()
	got, err := p.registrar.Register(ctx, agentsync.PodAddresses{Namespace: r.Pod.Namespace, Name: r.Pod.Name, UID: r.Pod.UID, Addresses: r.Endpoint.Addresses})
	p.metrics.waited("peers", began, errors.Join(err, still(got.Waiting)))
	if err != nil || got.Waiting > 0 {
		p.log.Warn("a new pod may not be known yet to all pods whose policies name it", "pod", r.Pod.String(),
			"controllers", got.Asked, "known", got.Known, "agentsWaitedFor", got.Waiting, "error", err)
	}
}

func still(waiting int) error {
	if waiting > 0 {
		return fmt.Errorf("%d agents have not acknowledged", waiting)
	}
	return nil
}

// Gone implements endpoint.Policies.
func (p *podPolicies) Gone(ctx context.Context, k endpoint.Key) { p.node.ForgetPod(ctx, k.String()) }

var (
	policiesDesc      = prometheus.NewDesc("fairlead_agent_policies", "Network policies that this node knows: those that select its pods.", nil, nil)
	peerSetsDesc      = prometheus.NewDesc("fairlead_agent_peer_sets", "Peer sets that this node knows.", nil, nil)
	peerAddressesDesc = prometheus.NewDesc("fairlead_agent_peer_set_addresses", "Addresses in peer sets that this node knows.", nil, nil)
	inForceDesc       = prometheus.NewDesc("fairlead_agent_policies_in_force", "1 while all policies that this node knows are in force.", nil, nil)
	policyUsedDesc    = prometheus.NewDesc("fairlead_datapath_policy_map_used", "Rows in use of the maps of network policies.", []string{"map"}, nil)
	policyTotalDesc   = prometheus.NewDesc("fairlead_datapath_policy_map_max", "Rows that the maps of network policies have.", []string{"map"}, nil)
)

// policyMetrics are those of network policies.
type policyMetrics struct {
	node    *node.Node
	dp      *datapathHolder
	room    *room
	applied *prometheus.HistogramVec
	waits   *prometheus.HistogramVec
}

func newPolicyMetrics(n *node.Node, dp *datapathHolder, log *slog.Logger) *policyMetrics {
	buckets := []float64{.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .5, 2, 5}
	return &policyMetrics{
		node: n, dp: dp, room: newRoom("network policies", policyRoomSetting, log),
		applied: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fairlead_agent_policy_update_seconds", Help: "Time that a change of network policies took to be in force.", Buckets: buckets,
		}, []string{"result"}),
		waits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fairlead_agent_pod_wait_seconds", Help: "Time that a new pod waited: for its policies, and for pods whose policies name it to know it.", Buckets: buckets,
		}, []string{"for", "result"}),
	}
}

func resultOf(err error) string {
	if err != nil {
		return "error"
	}
	return "success"
}

// observe takes a change into account that has come into force. Changes come one after another.
func (m *policyMetrics) observe(took time.Duration, err error) {
	m.applied.WithLabelValues(resultOf(err)).Observe(took.Seconds())
	m.room.look(m.dp.policyUsage())
}

func (m *policyMetrics) waited(what string, began time.Time, err error) {
	m.waits.WithLabelValues(what, resultOf(err)).Observe(time.Since(began).Seconds())
}

// Describe implements prometheus.Collector.
func (m *policyMetrics) Describe(ch chan<- *prometheus.Desc) {
	m.applied.Describe(ch)
	m.waits.Describe(ch)
	for _, d := range []*prometheus.Desc{policiesDesc, peerSetsDesc, peerAddressesDesc, inForceDesc, policyUsedDesc, policyTotalDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *policyMetrics) Collect(ch chan<- prometheus.Metric) {
	m.applied.Collect(ch)
	m.waits.Collect(ch)
	v := m.node.PolicyState()
	inForce := 0
	if v.InForce {
		inForce = 1
	}
	for _, g := range []struct {
		desc *prometheus.Desc
		n    int
	}{{policiesDesc, v.Policies}, {peerSetsDesc, v.PeerSets}, {peerAddressesDesc, v.Addresses}, {inForceDesc, inForce}} {
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(g.n))
	}
	for _, u := range m.dp.policyUsage() {
		ch <- prometheus.MustNewConstMetric(policyUsedDesc, prometheus.GaugeValue, float64(u.Used), u.Name)
		ch <- prometheus.MustNewConstMetric(policyTotalDesc, prometheus.GaugeValue, float64(u.Max), u.Name)
	}
}

// servePolicies answers what this node enforces at /policies, what it dropped at /drops, and
// what becomes of a connection at /trace.
func (h *healthServer) servePolicies(mux *http.ServeMux) {
	mux.HandleFunc("GET /policies", func(w http.ResponseWriter, _ *http.Request) {
		v := h.node.Policies()
		v.Node = h.name
		for _, u := range h.dp.policyUsage() {
			v.Maps = append(v.Maps, mapOf(u))
		}
		writeJSON(w, v)
	})
	mux.HandleFunc("GET /drops", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, h.drops.Last()) })
	mux.HandleFunc("GET /trace", func(w http.ResponseWriter, r *http.Request) { h.serveTrace(w, r) })
}
