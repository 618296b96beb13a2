// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	runtimehooksv1 "sigs.k8s.io/cluster-api/api/runtime/hooks/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/stack"
)

// born calls BeforeClusterCreate until it lets the Cluster pass.
func (s *story) born(r *replica, name string) *clusterv1.Cluster {
	s.t.Helper()
	s.Eventually(func(g Gomega) {
		resp, err := r.create(s.get(name))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(resp.Status).To(Equal(runtimehooksv1.ResponseStatusSuccess))
		g.Expect(resp.RetryAfterSeconds).To(BeZero(), resp.Message)
	}).Should(Succeed())
	return s.get(name)
}

func TestACreationWaitsUntilTheClusterShowsItsAddresses(t *testing.T) {
	s := begin(t)
	s.create(s.pool())
	s.create(s.cluster("a"))
	r := s.replica(stack.Versions{})
	resp, err := r.create(s.get("a"))
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(resp.RetryAfterSeconds).To(BeEquivalentTo(1), "the first answer must hold: %s", resp.Message)
	c := s.born(r, "a")
	s.Expect(c.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationClusterID, "1"))
	s.Expect(c.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationLoadBalancerRanges, "192.0.2.0/28"))
	s.Expect(c.Spec.ClusterNetwork.Pods.CIDRBlocks).To(Equal([]string{"10.64.0.0/16", "fd00:64::/56"}))
	s.Expect(c.Spec.ClusterNetwork.Services.CIDRBlocks).To(Equal([]string{"10.96.0.0/20", "fd00:96::/112"}))
	held := s.status().Holdings
	s.Expect(held).To(HaveLen(1))
	s.Expect(held[0].UID).To(BeEquivalentTo(c.UID))
	version := s.get("a").ResourceVersion
	s.born(r, "a")
	s.Expect(s.get("a").ResourceVersion).To(Equal(version), "asking again must change nothing")
}

// Another replica, or the FleetPool's reconciler, may be faster than Cluster API's cache.
func TestACreationWaitsUntilClusterAPIHasSeenTheAddresses(t *testing.T) {
	s := begin(t)
	s.create(s.pool())
	s.create(s.cluster("a"))
	r := s.replica(stack.Versions{})
	behind := s.get("a")
	s.Eventually(func(g Gomega) {
		answer, err := r.hooks.Giver.Settle(s.ctx, client.ObjectKeyFromObject(behind))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(answer.Settled).To(BeTrue())
	}).Should(Succeed())
	resp, err := r.create(behind)
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(resp.RetryAfterSeconds).To(BeEquivalentTo(1))
	s.Expect(resp.Message).To(ContainSubstring("Cluster API has not seen them yet"))
	resp, err = r.create(s.get("a"))
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(resp.RetryAfterSeconds).To(BeZero(), resp.Message)
}

func TestANamespaceWithoutAFleetPoolIsLeftAlone(t *testing.T) {
	s := begin(t)
	s.create(s.cluster("a"))
	r := s.replica(stack.Versions{})
	before := s.get("a").ResourceVersion
	s.born(r, "a")
	s.Expect(s.get("a").ResourceVersion).To(Equal(before))
}

func TestWhatAClusterNamesIsKeptIfItIsFree(t *testing.T) {
	for _, c := range []struct {
		name     string
		pods     []string
		services []string
		wantPods []string
		want     []string // of Services
	}{
		{"both", []string{"172.16.0.0/16"}, []string{"172.17.0.0/20"}, []string{"172.16.0.0/16"}, []string{"172.17.0.0/20"}},
		{"pods of one family: Services of that family too", []string{"172.16.0.0/16"}, nil, []string{"172.16.0.0/16"}, []string{"10.96.0.0/20"}},
		{"a range of a pool", []string{"10.70.0.0/16", "fd00:64:0:700::/56"}, nil, []string{"10.70.0.0/16", "fd00:64:0:700::/56"}, []string{"10.96.0.0/20", "fd00:96::/112"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := begin(t)
			s.create(s.pool())
			cluster := s.cluster("a")
			cluster.Spec.ClusterNetwork.Pods.CIDRBlocks, cluster.Spec.ClusterNetwork.Services.CIDRBlocks = c.pods, c.services
			s.create(cluster)
			got := s.born(s.replica(stack.Versions{}), "a")
			s.Expect(got.Spec.ClusterNetwork.Pods.CIDRBlocks).To(Equal(c.wantPods))
			s.Expect(got.Spec.ClusterNetwork.Services.CIDRBlocks).To(Equal(c.want))
		})
	}
}

func TestARefusalSaysWhoHasTheRange(t *testing.T) {
	for _, c := range []struct {
		name    string
		pods    []string
		annotes map[string]string
		want    string
	}{
		{"another cluster's range", []string{"10.64.0.0/17"}, nil, "Cluster %s/a has 10.64.0.0/16 for pods: name another, or none"},
		{"another cluster's number", nil, map[string]string{v1alpha1.AnnotationClusterID: "1"}, "so has Cluster %s/a"},
		{"no prefix", []string{"ten"}, nil, "spec.clusterNetwork.pods.cidrBlocks of Cluster %s/b has \"ten\", which is no prefix: write it as"},
		{"no number", nil, map[string]string{v1alpha1.AnnotationClusterID: "one"}, "metadata.annotations[fairlead.io/cluster-id] of Cluster %s/b is \"one\", no number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := begin(t)
			s.create(s.pool())
			s.create(s.cluster("a"))
			r := s.replica(stack.Versions{})
			s.born(r, "a")
			b := s.cluster("b")
			b.Annotations = c.annotes
			b.Spec.ClusterNetwork.Pods.CIDRBlocks = c.pods
			s.create(b)
			resp, err := r.create(s.get("b"))
			s.Expect(err).NotTo(HaveOccurred())
			s.Expect(resp.Status).To(Equal(runtimehooksv1.ResponseStatusSuccess), "a hold, not a failure: Cluster API backs off after failures")
			s.Expect(resp.RetryAfterSeconds).To(BeEquivalentTo(whileHeld))
			s.Expect(resp.Message).To(ContainSubstring(fmt.Sprintf(c.want, s.ns)))
			s.Expect(s.status().Holdings).To(HaveLen(1))
		})
	}
}

func TestALostStatusIsReadFromTheClusters(t *testing.T) {
	s := begin(t)
	s.create(s.pool())
	r := s.replica(stack.Versions{})
	for _, name := range []string{"a", "b"} {
		s.create(s.cluster(name))
		s.born(r, name)
	}
	pool := &v1alpha1.FleetPool{}
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: "fleet"}, pool)).To(Succeed())
	pool.Status.Holdings = nil
	s.Expect(hub.Client.Status().Update(s.ctx, pool)).To(Succeed())
	s.create(s.cluster("c"))
	c := s.born(r, "c")
	s.Expect(c.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationClusterID, "3"))
	s.Expect(c.Spec.ClusterNetwork.Pods.CIDRBlocks).To(Equal([]string{"10.66.0.0/16", "fd00:64:0:200::/56"}))
	s.Expect(s.status().Holdings).To(HaveLen(3))
}

func TestAClusterThatRunsAlreadyIsRecordedAndLeftAsItIs(t *testing.T) {
	s := begin(t)
	old := s.cluster("old")
	old.Spec.ClusterNetwork.Pods.CIDRBlocks = []string{"10.64.0.0/14"}
	s.create(old)
	yes := true
	old.Status.Initialization.InfrastructureProvisioned = &yes
	s.Expect(hub.Client.Status().Update(s.ctx, old)).To(Succeed())
	before := s.get("old").ResourceVersion
	s.create(s.pool())
	r := s.replica(stack.Versions{})
	s.create(s.cluster("new"))
	s.Expect(s.born(r, "new").Spec.ClusterNetwork.Pods.CIDRBlocks[0]).To(Equal("10.68.0.0/16"), "past what the old one has")
	s.born(r, "old")
	s.Expect(s.get("old").ResourceVersion).To(Equal(before))
	s.Expect(s.status().Holdings).To(ContainElement(HaveField("Cluster", "old")))
}

func TestManyAreBornAtOnceByTwoReplicas(t *testing.T) {
	s := begin(t)
	pool := s.pool()
	pool.Spec.Classes[0].Pods = v1alpha1.PrefixLengths{IPv4: 20}
	pool.Spec.Classes[0].Services = v1alpha1.PrefixLengths{IPv4: 24}
	pool.Spec.Classes[0].LoadBalancers = v1alpha1.PrefixLengths{}
	s.create(pool)
	replicas := []*replica{s.replica(stack.Versions{}), s.replica(stack.Versions{})}
	const births = 60
	var asked, writes atomic.Int64
	for _, r := range replicas {
		r.hooks.Giver.Ledger.Wrote = func() { writes.Add(1) }
	}
	var group errgroup.Group
	for i := range births {
		group.Go(func() error {
			c := s.cluster(fmt.Sprintf("c%d", i))
			if err := hub.Client.Create(s.ctx, c); err != nil {
				return err
			}
			for try := 0; ; try++ {
				asked.Add(1)
				if err := hub.Client.Get(s.ctx, client.ObjectKeyFromObject(c), c); err != nil {
					return err
				}
				resp, err := replicas[(i+try)%2].create(c)
				if err != nil {
					return err
				}
				if resp.RetryAfterSeconds == 0 {
					return nil
				}
				if try > 50 {
					return errors.New(resp.Message)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	s.Expect(group.Wait()).To(Succeed())
	s.disjoint(births)
	t.Logf("%d births took %d questions and %d writes of the FleetPool", births, asked.Load(), writes.Load())
	s.Expect(writes.Load()).To(BeNumerically("<", births), "reservations that come together must be written together")
}

// disjoint checks that so many Clusters have a number and ranges of their own.
func (s *story) disjoint(want int) {
	s.t.Helper()
	var all clusterv1.ClusterList
	s.Expect(hub.Client.List(s.ctx, &all, client.InNamespace(s.ns))).To(Succeed())
	s.Expect(all.Items).To(HaveLen(want))
	ids, ranges := map[string]string{}, map[netip.Prefix]string{}
	for _, c := range all.Items {
		id := c.Annotations[v1alpha1.AnnotationClusterID]
		s.Expect(id).NotTo(BeEmpty(), c.Name)
		s.Expect(ids).NotTo(HaveKey(id), "%s and %s have one number", c.Name, ids[id])
		ids[id] = c.Name
		for _, text := range append(c.Spec.ClusterNetwork.Pods.CIDRBlocks, c.Spec.ClusterNetwork.Services.CIDRBlocks...) {
			p := netip.MustParsePrefix(text)
			for other, owner := range ranges {
				s.Expect(p.Overlaps(other)).To(BeFalse(), "%s of %s and %s of %s", p, c.Name, other, owner)
			}
			ranges[p] = c.Name
		}
	}
}
