// SPDX-License-Identifier: Apache-2.0

package fleetmetrics

import (
	"context"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

var (
	ofRanges   = []string{"namespace", "fleetpool", "class", "use", "family", "length"}
	rangesDesc = prometheus.NewDesc("fairlead_fleetpool_ranges", "Ranges of the length that clusters of a class get, by state: used, resting or free.",
		append(ofRanges[:len(ofRanges):len(ofRanges)], "state"), nil)
	runsOutDesc = prometheus.NewDesc("fairlead_fleetpool_runs_out_timestamp_seconds",
		"When the last free range goes, if clusters come as in the last 30 days. Absent: not within ten years.", ofRanges, nil)
	poolClustersDesc = prometheus.NewDesc("fairlead_fleetpool_clusters", "Clusters by what they have of a FleetPool: holding, resting (gone) or waiting.",
		[]string{"namespace", "fleetpool", "state"}, nil)
)

func (c *Collector) pools(ctx context.Context, ch chan<- prometheus.Metric) error {
	var l v1alpha1.FleetPoolList
	if err := c.options.Reader.List(ctx, &l, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	for i := range l.Items {
		p := &l.Items[i]
		states := map[string]int{"holding": 0, "resting": 0, "waiting": len(p.Status.Waiting)}
		for j := range p.Status.Holdings {
			if p.Status.Holdings[j].Freed == nil {
				states["holding"]++
			} else {
				states["resting"]++
			}
		}
		for state, n := range states {
			gauge(ch, poolClustersDesc, float64(n), p.Namespace, p.Name, state)
		}
		for _, u := range p.Status.Usage {
			labels := []string{p.Namespace, p.Name, u.Class, strings.ToLower(string(u.Use)), u.Family, strconv.Itoa(int(u.Length))}
			for state, n := range map[string]int64{"used": u.Total - u.Free - u.Resting, "resting": u.Resting, "free": u.Free} {
				gauge(ch, rangesDesc, float64(n), append(labels[:len(labels):len(labels)], state)...)
			}
			if u.RunsOut != nil {
				gauge(ch, runsOutDesc, float64(u.RunsOut.Unix()), labels...)
			}
		}
	}
	return nil
}
