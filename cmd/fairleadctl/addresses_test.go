// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/cli/addresses"
)

func TestAddressesShowsWhatClustersHold(t *testing.T) {
	s := begin(t)
	s.Expect(s.says("addresses").err).To(ContainSubstring("there is no FleetPool in namespace " + s.ns + ": its Clusters have the addresses that they name"))
	p := &v1alpha1.FleetPool{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "fleet"}, Spec: v1alpha1.FleetPoolSpec{
		Pools:   []v1alpha1.FleetAddresses{{Name: "pods", Use: v1alpha1.AddressesForPods, Prefixes: []v1alpha1.Prefix{"10.64.0.0/12", "fd00::/20"}}},
		Classes: []v1alpha1.ClusterClassSizes{{Name: "default", Pods: v1alpha1.PrefixLengths{IPv4: 16, IPv6: 56}}},
	}}
	s.Expect(management.Client.Create(s.ctx, p)).To(Succeed())
	s.Expect(s.says("addresses").out).To(ContainSubstring("the operator has not seen the newest change yet"))

	freed := metav1.NewTime(time.Now().Add(-10 * time.Minute))
	runsOut := metav1.NewTime(time.Date(2030, 1, 2, 0, 0, 0, 0, time.UTC))
	p.Status = v1alpha1.FleetPoolStatus{
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonClustersWait,
			Message: "1 Clusters get nothing", ObservedGeneration: p.Generation, LastTransitionTime: metav1.Now()}},
		Holdings: []v1alpha1.Holding{
			{Cluster: "alpha", UID: "1", ID: 1, Pods: []string{"10.64.0.0/16", "fd00::/56"}, Since: metav1.Now()},
			{Cluster: "gone", UID: "2", ID: 2, Pods: []string{"10.65.0.0/16"}, Since: metav1.Now(), Freed: &freed},
		},
		Usage: []v1alpha1.PoolUsage{
			{Class: "default", Use: v1alpha1.AddressesForPods, Family: "IPv4", Length: 16, Total: 16, Free: 14, Resting: 1, RunsOut: &runsOut},
			{Class: "default", Use: v1alpha1.AddressesForPods, Family: "IPv6", Length: 56, Total: 1 << 36, Free: 1<<36 - 1},
		},
		Waiting: []v1alpha1.WaitingCluster{{Cluster: "zulu", Message: "Cluster zulu gets no range for pods"}},
	}
	s.Expect(management.Client.Status().Update(s.ctx, p)).To(Succeed())

	got := s.says("addresses")
	s.Expect(got.code).To(BeZero(), got.err)
	s.Expect(got.out).To(ContainSubstring(s.ns + "/fleet: 1 Clusters get nothing"))
	s.Expect(got.out).To(MatchRegexp(`default +Pods +IPv4 +/16 +16 +1 +1 +14 +2030-01-02`))
	s.Expect(got.out).To(MatchRegexp(`default +Pods +IPv6 +/56 +2\^36 +1 +0 +2\^36 +-`))
	s.Expect(got.out).To(MatchRegexp(`alpha +1 +10.64.0.0/16,fd00::/56 +- +- +\S+ +held`))
	s.Expect(got.out).To(MatchRegexp(`gone +2 +10.65.0.0/16 .* rests for (49m5|50m)`))
	s.Expect(got.out).To(ContainSubstring("waiting: Cluster zulu gets no range for pods"))
	s.Expect(s.says("addresses", "--brief").out).NotTo(ContainSubstring("alpha"))

	var pools []addresses.Pool
	s.Expect(json.Unmarshal([]byte(s.says("addresses", "-A", "-o", "json").out), &pools)).To(Succeed())
	s.Expect(pools).To(HaveLen(1))
	s.Expect(pools[0].Holdings).To(HaveLen(2))
}
