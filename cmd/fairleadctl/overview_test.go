// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	hubclient "github.com/fairlead-io/fairlead/internal/cli/hub"
)

// TestTheTableSaysWhatTheObjectsSay: the quick way, which people see, and the slow one,
// which programs see, are one.
func TestTheTableSaysWhatTheObjectsSay(t *testing.T) {
	s := begin(t)
	s.rollout(s.stack("production", nil), underWay(v1alpha1.RolloutProgressing))
	s.clusterStack("production", "ready", "canary", metav1.ConditionTrue)
	s.clusterStack("production", "broken", "early", metav1.ConditionFalse)
	edit := func(name string, change func(*v1alpha1.ClusterStack)) {
		cs := s.clusterStack("production", name, "early", metav1.ConditionTrue)
		change(cs)
		s.Expect(management.Client.Update(s.ctx, cs)).To(Succeed())
	}
	edit("stale", func(cs *v1alpha1.ClusterStack) { cs.Spec.CNI.MTU = 1400 })
	edit("pinned", func(cs *v1alpha1.ClusterStack) { cs.Spec.Pinned = true })
	edit("leaving", func(cs *v1alpha1.ClusterStack) { cs.Finalizers = []string{v1alpha1.ClusterStackFinalizer} })
	away := s.clusterStack("production", "away", "early", metav1.ConditionFalse)
	away.Status.Conditions[0].Status, away.Status.Conditions[0].Reason = metav1.ConditionFalse, v1alpha1.ReasonUnreachable
	s.Expect(management.Client.Status().Update(s.ctx, away)).To(Succeed())
	leaving := &v1alpha1.ClusterStack{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "leaving"}}
	s.Expect(management.Client.Delete(s.ctx, leaving)).To(Succeed())
	t.Cleanup(func() {
		if management.Client.Get(t.Context(), client.ObjectKeyFromObject(leaving), leaving) == nil {
			leaving.Finalizers = nil
			_ = management.Client.Update(t.Context(), leaving)
		}
	})

	c, err := hubclient.New(management.Config)
	s.Expect(err).NotTo(HaveOccurred())
	q := hubclient.Query{Namespace: s.ns}
	objects, err := c.Fleet(s.ctx, q)
	s.Expect(err).NotTo(HaveOccurred())
	table, err := c.Overview(s.ctx, q)
	s.Expect(err).NotTo(HaveOccurred())
	for i := range objects.Clusters {
		s.Expect(objects.Clusters[i].Created).NotTo(BeZero())
		objects.Clusters[i].Created = time.Time{}
	}
	for i := range table.Clusters {
		s.Expect(table.Clusters[i].Age).NotTo(BeEmpty(), "it came out of the table")
		table.Clusters[i].Age = ""
	}
	s.Expect(table).To(Equal(objects))
	s.Expect(table.Clusters).To(HaveLen(6))
}
