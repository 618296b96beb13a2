// SPDX-License-Identifier: Apache-2.0

package drop

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-io/fairlead/internal/agent/policy"
	"github.com/fairlead-io/fairlead/internal/agent/policy/view"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

const (
	// kept is how many drops are remembered.
	kept = 512
	// maxSeries bounds the policies that drops are counted by: users make as many as they
	// like. Drops by further ones are counted as those of policy "other".
	maxSeries = 500
	other     = "other"
)

// Recorder remembers drops. It is safe for concurrent use.
type Recorder struct {
	cause func(datapath.CauseID) (policy.Rule, bool)
	log   *slog.Logger
	now   func() time.Time

	mu     sync.Mutex
	last   []view.Drop // a ring
	next   int         // the oldest, once it is full
	counts map[series]float64
}

// series is a row of the metric.
type series struct{ direction, kind, namespace, name string }

// New returns a recorder that knows rules by their ids.
func New(cause func(datapath.CauseID) (policy.Rule, bool), log *slog.Logger) *Recorder {
	return &Recorder{cause: cause, log: log, now: time.Now, counts: map[series]float64{}}
}

// Record takes a drop over.
func (r *Recorder) Record(d datapath.Drop) {
	v := view.Drop{
		Hook: d.Hook, Reason: d.Reason, Source: address(d.Source), Destination: address(d.Dest),
		Protocol: d.Protocol, Bytes: d.Bytes, At: r.now(),
	}
	switch d.Direction {
	case datapath.Ingress:
		v.Direction = "ingress"
	case datapath.Egress:
		v.Direction = "egress"
	}
	if rule, ok := r.cause(d.Cause); ok {
		v.Why, v.Kind, v.Namespace, v.Name = rule.String(), rule.Kind, rule.Namespace, rule.Name
	}
	r.log.Debug("dropped", "hook", v.Hook, "reason", v.Reason, "why", v.Why, "direction", v.Direction,
		"source", v.Source, "destination", v.Destination, "protocol", v.Protocol, "bytes", v.Bytes)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.last) < kept {
		r.last = append(r.last, v)
	} else {
		r.last[r.next] = v
		r.next = (r.next + 1) % kept
	}
	if v.Direction != "" {
		r.count(series{v.Direction, v.Kind, v.Namespace, v.Name})
	}
}

func (r *Recorder) count(s series) {
	if _, there := r.counts[s]; !there && len(r.counts) >= maxSeries {
		s.kind, s.namespace, s.name = "", "", other
	}
	r.counts[s]++
}

// address is an address with its port, where there is one.
func address(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().Unmap().String()
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
}

// Last returns the last drops, the latest first.
func (r *Recorder) Last() []view.Drop {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Concat(r.last[r.next:], r.last[:r.next])
	slices.Reverse(out)
	return out
}

var dropsDesc = prometheus.NewDesc("fairlead_policy_drops_total",
	"Packets that a network policy dropped, as far as they were reported; without a name where none is known.",
	[]string{"direction", "kind", "namespace", "name"}, nil)

// Describe implements prometheus.Collector.
func (r *Recorder) Describe(ch chan<- *prometheus.Desc) { ch <- dropsDesc }

// Collect implements prometheus.Collector.
func (r *Recorder) Collect(ch chan<- prometheus.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s, n := range r.counts {
		ch <- prometheus.MustNewConstMetric(dropsDesc, prometheus.CounterValue, n, s.direction, s.kind, s.namespace, s.name)
	}
}
