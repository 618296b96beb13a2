// SPDX-License-Identifier: Apache-2.0

package fleetmetrics

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

func TestWhatIsLeftOfAFleetPool(t *testing.T) {
	at := metav1.NewTime(time.Unix(1900000000, 0))
	reader := &fleet{pools: []v1alpha1.FleetPool{{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "default"}, Status: v1alpha1.FleetPoolStatus{
		Holdings: []v1alpha1.Holding{{Cluster: "a"}, {Cluster: "b"}, {Cluster: "gone", Freed: &at}},
		Waiting:  []v1alpha1.WaitingCluster{{Cluster: "z"}},
		Usage:    []v1alpha1.PoolUsage{{Class: "small", Use: v1alpha1.AddressesForPods, Family: "IPv4", Length: 20, Total: 16, Free: 13, Resting: 1, RunsOut: &at}},
	}}}}
	const want = `
# HELP fairlead_fleetpool_clusters Clusters by what they have of a FleetPool: holding, resting (gone) or waiting.
# TYPE fairlead_fleetpool_clusters gauge
fairlead_fleetpool_clusters{fleetpool="default",namespace="fleet",state="holding"} 2
fairlead_fleetpool_clusters{fleetpool="default",namespace="fleet",state="resting"} 1
fairlead_fleetpool_clusters{fleetpool="default",namespace="fleet",state="waiting"} 1
# HELP fairlead_fleetpool_ranges Ranges of the length that clusters of a class get, by state: used, resting or free.
# TYPE fairlead_fleetpool_ranges gauge
fairlead_fleetpool_ranges{class="small",family="IPv4",fleetpool="default",length="20",namespace="fleet",state="free",use="pods"} 13
fairlead_fleetpool_ranges{class="small",family="IPv4",fleetpool="default",length="20",namespace="fleet",state="resting",use="pods"} 1
fairlead_fleetpool_ranges{class="small",family="IPv4",fleetpool="default",length="20",namespace="fleet",state="used",use="pods"} 2
# HELP fairlead_fleetpool_runs_out_timestamp_seconds When the last free range goes, if clusters come as in the last 30 days. Absent: not within ten years.
# TYPE fairlead_fleetpool_runs_out_timestamp_seconds gauge
fairlead_fleetpool_runs_out_timestamp_seconds{class="small",family="IPv4",fleetpool="default",length="20",namespace="fleet",use="pods"} 1.9e+09
`
	err := testutil.CollectAndCompare(New(Options{Reader: reader}), strings.NewReader(want),
		"fairlead_fleetpool_clusters", "fairlead_fleetpool_ranges", "fairlead_fleetpool_runs_out_timestamp_seconds")
	if err != nil {
		t.Error(err)
	}
}
