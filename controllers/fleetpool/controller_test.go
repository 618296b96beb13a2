// SPDX-License-Identifier: Apache-2.0

package fleetpool

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

func TestClustersWithoutATopologyGetAddresses(t *testing.T) {
	s := begin(t)
	s.pool(s.ns, "fleet", asIs)
	s.cluster("a")
	s.Eventually(s.pods("a")).Should(Equal([]string{"10.64.0.0/16"}))
	s.Expect(s.get("a").Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationClusterID, "1"))
	s.Eventually(s.condition(s.ns, "fleet", v1alpha1.ConditionReady)).Should(HavePrefix("True/FleetPoolReady: every Cluster has its addresses; 1 hold some"))
}

func TestAClusterThatIsPausedForItsBirthIsLetGo(t *testing.T) {
	s := begin(t)
	s.pool(s.ns, "fleet", asIs)
	yes := true
	c := &clusterv1.Cluster{}
	c.Namespace, c.Name, c.Annotations = s.ns, "a", map[string]string{v1alpha1.AnnotationBirth: v1alpha1.BirthPending}
	c.Spec.Paused = &yes
	c.Spec.InfrastructureRef = clusterv1.ContractVersionedObjectReference{APIGroup: "infrastructure.cluster.x-k8s.io", Kind: "LabCluster", Name: "a"}
	s.Expect(hub.Client.Create(s.ctx, c)).To(Succeed())
	s.Eventually(func() *bool { return s.get("a").Spec.Paused }).Should(BeNil())
	s.Expect(s.pods("a")()).To(Equal([]string{"10.64.0.0/16"}), "released with its addresses, not before")
}

func TestWhatIsLeftIsReported(t *testing.T) {
	s := begin(t)
	s.pool(s.ns, "fleet", asIs)
	for _, name := range []string{"a", "b", "c", "d"} {
		s.cluster(name)
		s.Eventually(s.pods(name)).ShouldNot(BeEmpty())
	}
	s.Eventually(s.condition(s.ns, "fleet", v1alpha1.ConditionAvailable)).Should(
		Equal("False/Exhausted: nothing is left of IPv4 /16 for pods of class default: add to spec.pools, or delete Clusters"))
	s.cluster("e")
	s.Eventually(s.condition(s.ns, "fleet", v1alpha1.ConditionReady)).Should(
		ContainSubstring("1 Clusters get nothing: Cluster " + s.ns + "/e gets no range for pods: no pool for pods has an IPv4 /16 left"))
	s.Expect(s.status(s.ns, "fleet").Waiting).To(HaveLen(1))

	t.Run("what a Cluster that is gone held rests", func(t *testing.T) {
		s.Expect(hub.Client.Delete(s.ctx, s.get("b"))).To(Succeed())
		s.Eventually(func() []v1alpha1.PoolUsage { return s.status(s.ns, "fleet").Usage }).Should(
			ConsistOf(And(HaveField("Free", int64(0)), HaveField("Resting", int64(1)), HaveField("Total", int64(4)))))
		s.Consistently(s.pods("e"), "1s").Should(BeEmpty())
	})
	t.Run("and is given again after that", func(t *testing.T) {
		s.ahead.Store(int64(61 * time.Minute))
		s.cluster("nudge", "172.16.0.0/16")
		s.Eventually(s.pods("e")).Should(Equal([]string{"10.65.0.0/16"}))
	})
}

func TestClustersThatRanBeforeAreRecorded(t *testing.T) {
	s := begin(t)
	yes := true
	for _, name := range []string{"old", "twin"} {
		c := s.cluster(name, "10.64.0.0/16")
		c.Status.Initialization.InfrastructureProvisioned = &yes
		s.Expect(hub.Client.Status().Update(s.ctx, c)).To(Succeed())
	}
	before := s.get("old").ResourceVersion
	s.pool(s.ns, "fleet", asIs)
	s.Eventually(s.condition(s.ns, "fleet", v1alpha1.ConditionDisjoint)).Should(And(
		HavePrefix("False/ClustersOverlap: Cluster "+s.ns+"/old has pods 10.64.0.0/16, and Cluster "+s.ns+"/twin has pods 10.64.0.0/16"),
		ContainSubstring("cannot be joined into a mesh")))
	s.Expect(s.status(s.ns, "fleet").Holdings).To(HaveLen(2))
	s.Expect(s.get("old").ResourceVersion).To(Equal(before), "nothing of it is changed")
	s.cluster("new")
	s.Eventually(s.pods("new")).Should(Equal([]string{"10.65.0.0/16"}))
}

func TestAClusterMadeAnewIsAnotherCluster(t *testing.T) {
	s := begin(t)
	s.pool(s.ns, "fleet", asIs)
	s.cluster("a")
	s.Eventually(s.pods("a")).Should(Equal([]string{"10.64.0.0/16"}))
	s.Expect(hub.Client.Delete(s.ctx, s.get("a"))).To(Succeed())
	s.Eventually(func() error {
		return hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: "a"}, &clusterv1.Cluster{})
	}).ShouldNot(Succeed())
	s.cluster("a")
	s.Eventually(s.pods("a")).Should(Equal([]string{"10.65.0.0/16"}))
}

func TestFaultsOfAFleetPoolAreNamed(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*v1alpha1.FleetPoolSpec)
		want   string
	}{
		{"pools overlap", func(s *v1alpha1.FleetPoolSpec) {
			s.Pools = append(s.Pools, v1alpha1.FleetAddresses{Name: "more", Use: v1alpha1.AddressesForServices, Prefixes: []v1alpha1.Prefix{"10.65.0.0/16"}})
		}, "pool more: prefixes has 10.65.0.0/16, which overlaps 10.64.0.0/14 of pool pods"},
		{"a pool is too small", func(s *v1alpha1.FleetPoolSpec) { s.Classes[0].Pods.IPv4 = 13 }, "class default: no pool for pods has room for one IPv4 /13"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := begin(t)
			s.pool(s.ns, "fleet", c.change)
			s.Eventually(s.condition(s.ns, "fleet", v1alpha1.ConditionAccepted)).Should(And(HavePrefix("False/Invalid"), ContainSubstring(c.want)))
			s.cluster("a")
			s.Consistently(s.pods("a"), "500ms").Should(BeEmpty())
		})
	}
}

func TestTwoNamespacesDoNotShareAddresses(t *testing.T) {
	s := begin(t)
	s.pool(s.ns, "fleet", asIs)
	other := s.namespace()
	s.pool(other, "fleet", func(p *v1alpha1.FleetPoolSpec) { p.ClusterIDs = v1alpha1.ClusterIDRange{First: 51, Last: 90} })
	younger, older := other, s.ns
	if other < s.ns { // made in the same second, perhaps: then the name counts
		s.Eventually(func() string {
			return s.condition(s.ns, "fleet", v1alpha1.ConditionAccepted)() + s.condition(other, "fleet", v1alpha1.ConditionAccepted)()
		}).
			Should(ContainSubstring("OtherFleetPool"))
		if s.condition(s.ns, "fleet", v1alpha1.ConditionAccepted)()[:5] == "False" {
			younger, older = s.ns, other
		}
	}
	s.Eventually(s.condition(younger, "fleet", v1alpha1.ConditionAccepted)).Should(
		HavePrefix("False/OtherFleetPool: 10.64.0.0/14 of spec.pools[name=pods] of FleetPool " + younger + "/fleet are those of FleetPool " + older + "/fleet too, which is older"))
}

func TestBadFleetPoolsAreRefusedByTheAPIServer(t *testing.T) {
	s := begin(t)
	for _, c := range []struct {
		name   string
		change func(*v1alpha1.FleetPoolSpec)
		want   string
	}{
		{"bits beyond the length", func(p *v1alpha1.FleetPoolSpec) { p.Pools[0].Prefixes[0] = "10.64.0.1/14" }, "write a prefix without bits beyond its length"},
		{"last before first", func(p *v1alpha1.FleetPoolSpec) { p.ClusterIDs = v1alpha1.ClusterIDRange{First: 5, Last: 4} }, "clusterIDs.last must not be less than clusterIDs.first"},
		{"two classes of one name", func(p *v1alpha1.FleetPoolSpec) { p.Classes = append(p.Classes, p.Classes[0]) }, "spec.classes has two of one name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &v1alpha1.FleetPool{Spec: v1alpha1.FleetPoolSpec{
				ClusterIDs: v1alpha1.ClusterIDRange{First: 1, Last: 50},
				Pools:      []v1alpha1.FleetAddresses{{Name: "pods", Use: v1alpha1.AddressesForPods, Prefixes: []v1alpha1.Prefix{"10.64.0.0/14"}}},
				Classes:    []v1alpha1.ClusterClassSizes{{Name: "default", Pods: v1alpha1.PrefixLengths{IPv4: 16}}},
			}}
			p.Namespace, p.Name = s.ns, "bad"
			c.change(&p.Spec)
			NewWithT(t).Expect(hub.Client.Create(s.ctx, p)).To(MatchError(ContainSubstring(c.want)))
		})
	}
}
