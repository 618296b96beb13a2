// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	runtimehooksv1 "sigs.k8s.io/cluster-api/api/runtime/hooks/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/internal/stack"
)

// An operator that ends between any two of its writes is followed by one that gives the same.
func TestAnOperatorThatEndsInAHookIsFollowedByAnother(t *testing.T) {
	for _, c := range []struct {
		name string
		ends func(*story, *replica)
	}{
		{"when it has reserved, and written nothing into the Cluster", func(s *story, r *replica) {
			_, err := r.hooks.Giver.reserve(s.ctx, s.get("a"))
			s.Expect(err).NotTo(HaveOccurred())
		}},
		{"when it has written all, and answered nothing", func(s *story, r *replica) {
			_, err := r.hooks.Giver.Settle(s.ctx, client.ObjectKeyFromObject(s.get("a")))
			s.Expect(err).NotTo(HaveOccurred())
		}},
		{"when it takes so long that Cluster API gives up", func(s *story, r *replica) {
			wait := make(chan struct{})
			r.hooks.Giver.Ledger.Wrote = func() { <-wait }
			impatient := *r
			impatient.client = &http.Client{Transport: r.client.Transport, Timeout: 200 * time.Millisecond}
			_, err := impatient.create(s.get("a"))
			s.Expect(err).To(HaveOccurred())
			close(wait)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := begin(t)
			s.create(s.pool())
			s.create(s.cluster("a"))
			c.ends(s, s.replica(stack.Versions{}))
			reserved := s.status().Holdings
			s.Expect(reserved).To(HaveLen(1))
			got := s.born(s.replica(stack.Versions{}), "a")
			s.Expect(got.Spec.ClusterNetwork.Pods.CIDRBlocks).To(Equal(reserved[0].Pods))
			s.Expect(s.status().Holdings).To(Equal(reserved))
		})
	}
}

func TestAClusterThatIsDeletedDuringItsBirthNeedsNothing(t *testing.T) {
	s := begin(t)
	s.create(s.pool())
	c := s.cluster("a")
	c.Finalizers = []string{clusterv1.ClusterFinalizer}
	s.create(c)
	s.Expect(hub.Client.Delete(s.ctx, s.get("a"))).To(Succeed())
	t.Cleanup(func() {
		c := s.get("a")
		c.Finalizers = nil
		_ = hub.Client.Update(context.Background(), c)
	})
	r := s.replica(stack.Versions{})
	s.born(r, "a")
	s.Expect(s.status().Holdings).To(BeEmpty())
	resp := &runtimehooksv1.BeforeClusterDeleteResponse{}
	s.Expect(r.call(runtimehooksv1.BeforeClusterDelete, "leave", &runtimehooksv1.BeforeClusterDeleteRequest{Cluster: *s.get("a")}, resp)).To(Succeed())
	s.Expect(resp.RetryAfterSeconds).To(BeZero())
}

func TestDeletionWritesDownWhatAClusterHolds(t *testing.T) {
	s := begin(t)
	old := s.cluster("old")
	old.Spec.ClusterNetwork.Pods.CIDRBlocks = []string{"10.64.0.0/16"}
	s.create(old)
	yes := true
	old.Status.Initialization.InfrastructureProvisioned = &yes
	s.Expect(hub.Client.Status().Update(s.ctx, old)).To(Succeed())
	s.create(s.pool())
	resp := &runtimehooksv1.BeforeClusterDeleteResponse{}
	s.Expect(s.replica(stack.Versions{}).call(runtimehooksv1.BeforeClusterDelete, "leave", &runtimehooksv1.BeforeClusterDeleteRequest{Cluster: *s.get("old")}, resp)).To(Succeed())
	s.Expect(resp.Status).To(Equal(runtimehooksv1.ResponseStatusSuccess))
	s.Expect(s.status().Holdings).To(ConsistOf(HaveField("Pods", []string{"10.64.0.0/16"})))
}

// The hook has whatever is waiting for the cluster be done at once.
func TestTheInstallBeginsWhenTheControlPlaneIsThere(t *testing.T) {
	s := begin(t)
	s.create(s.cluster("a"))
	r := s.replica(stack.Versions{})
	var hurried atomic.Value
	r.hooks.Hurry = func(key client.ObjectKey) { hurried.Store(key) }
	resp := &runtimehooksv1.AfterControlPlaneInitializedResponse{}
	s.Expect(r.call(runtimehooksv1.AfterControlPlaneInitialized, "install", &runtimehooksv1.AfterControlPlaneInitializedRequest{Cluster: *s.get("a")}, resp)).To(Succeed())
	s.Expect(resp.Status).To(Equal(runtimehooksv1.ResponseStatusSuccess))
	s.Expect(hurried.Load()).To(Equal(client.ObjectKey{Namespace: s.ns, Name: "a"}))
}
