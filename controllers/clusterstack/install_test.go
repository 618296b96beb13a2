// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/trust"
)

func TestInstallUntilEveryNodeHasAcknowledged(t *testing.T) {
	s := begin(t)
	s.networkStack()
	s.alpha()
	s.node("n1")
	s.node("n2")
	s.clusterStack("alpha")

	s.Eventually(s.condition("alpha", v1alpha1.ConditionReleased)).Should(HavePrefix("True/ReleaseDeployed: release fairlead-system/fairlead-cni: revision 1"))
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("False/ControllerNotAvailable"))

	t.Run("trust is there before the chart", func(t *testing.T) {
		secret, cm := &corev1.Secret{}, &corev1.ConfigMap{}
		s.Expect(work.Client.Get(s.ctx, client.ObjectKey{Namespace: Namespace, Name: "fairlead-cluster-ca"}, secret)).To(Succeed())
		s.Expect(work.Client.Get(s.ctx, client.ObjectKey{Namespace: Namespace, Name: "fairlead-trust"}, cm)).To(Succeed())
		_, err := trust.ParseAuthority(secret.Data)
		s.Expect(err).NotTo(HaveOccurred())
		s.Expect(string(secret.Data["ca.crt"])).To(Equal(cm.Data["ca.crt"]))
		root := &corev1.Secret{}
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: trust.RootSecretName("lab")}, root)).To(Succeed())
		s.Expect(root.OwnerReferences).To(HaveLen(1))
	})
	t.Run("the API server's address is the Cluster's endpoint", func(t *testing.T) {
		d := &appsv1.DaemonSet{}
		s.Expect(work.Client.Get(s.ctx, client.ObjectKey{Namespace: Namespace, Name: agentName}, d)).To(Succeed())
		host, _ := work.Endpoint()
		s.Expect(d.Spec.Template.Spec.Containers[0].Env).To(ContainElement(corev1.EnvVar{Name: "KUBERNETES_SERVICE_HOST", Value: host}))
		s.Expect(d.Spec.Template.Spec.Containers[0].Image).To(Equal("fairlead.io/fairlead:" + carried))
	})

	s.runController()
	s.Eventually(s.condition("alpha", v1alpha1.ConditionRolledOut)).Should(HavePrefix("False/NodesNotReady: 0 of 2 nodes run v0.1.0 and have acknowledged their state; without an agent: n1, n2"))
	s.acknowledge("n1", "v0.0.9", metav1.ConditionTrue, "Synced")
	s.Eventually(s.condition("alpha", v1alpha1.ConditionRolledOut)).Should(And(ContainSubstring("without an agent: n2"), ContainSubstring("with another version: n1 (v0.0.9)")))
	s.acknowledge("n1", carried, metav1.ConditionTrue, "Synced")
	s.acknowledge("n2", carried, metav1.ConditionFalse, "NotAcknowledged")
	s.Eventually(s.condition("alpha", v1alpha1.ConditionRolledOut)).Should(ContainSubstring("1 of 2 nodes run v0.1.0 and have acknowledged their state; not in sync: n2 (NotAcknowledged)"))
	s.acknowledge("n2", carried, metav1.ConditionTrue, "Synced")
	s.Eventually(s.condition("alpha", v1alpha1.ConditionRolledOut)).Should(HavePrefix("False/Progressing: DaemonSet"))
	s.runAgents(2)
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("True/AllNodesAcknowledged"))
	s.Expect(s.condition("alpha", v1alpha1.ConditionReconciling)()).To(BeEmpty())

	cs := &v1alpha1.ClusterStack{}
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: "alpha"}, cs)).To(Succeed())
	s.Expect(cs.Status.Nodes).To(Equal(v1alpha1.NodeCounts{Total: 2, Updated: 2, Acknowledged: 2}))
	s.Expect(cs.Status.Releases).To(HaveLen(1))
	s.Expect(cs.Status.Releases[0].State).To(Equal("Current"))

	t.Run("a new node is missing until its agent has acknowledged", func(t *testing.T) {
		s.node("n3")
		s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(And(HavePrefix("False/NodesNotReady: 2 of 3"), HaveSuffix("without an agent: n3")))
		s.Expect(work.Client.Delete(s.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n3"}})).To(Succeed())
		s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("True/"))
	})
	t.Run("status does not feed itself", func(t *testing.T) {
		version := func() string {
			s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(cs), cs)).To(Succeed())
			return cs.ResourceVersion
		}
		before := version()
		s.Consistently(version, "1s", "100ms").Should(Equal(before))
	})
	t.Run("a changed configuration is rolled out", func(t *testing.T) {
		s.Eventually(func() error {
			s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(cs), cs)).To(Succeed())
			cs.Spec.CNI.MTU = 1400
			return hub.Client.Update(s.ctx, cs)
		}).Should(Succeed())
		s.Eventually(s.condition("alpha", v1alpha1.ConditionReleased)).Should(ContainSubstring("revision 2"))
		s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("False/"))
		s.runController()
		s.runAgents(2)
		s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("True/"))
	})
	t.Run("a deleted DaemonSet comes back", func(t *testing.T) {
		s.Expect(work.Client.Delete(s.ctx, &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: agentName}})).To(Succeed())
		s.runAgents(2)
		s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("True/"))
		s.Expect(s.condition("alpha", v1alpha1.ConditionReleased)()).To(ContainSubstring("revision 2"))
	})
	t.Run("a deleted CA is made anew", func(t *testing.T) {
		s.Expect(work.Client.Delete(s.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: caSecretName}})).To(Succeed())
		s.Eventually(func() error {
			return work.Client.Get(s.ctx, client.ObjectKey{Namespace: Namespace, Name: caSecretName}, &corev1.Secret{})
		}).Should(Succeed())
	})
}

func TestPausedChangesNothing(t *testing.T) {
	s := begin(t)
	s.networkStack()
	s.alpha()
	cs := s.clusterStack("alpha")
	s.Eventually(func() error {
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(cs), cs)).To(Succeed())
		cs.Spec.Paused, cs.Spec.CNI.MTU = true, 1300
		return hub.Client.Update(s.ctx, cs)
	}).Should(Succeed())
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReleased)).Should(And(HavePrefix("False/ReleaseOutdated"), ContainSubstring("spec.paused of NetworkStack lab")))
	s.Eventually(func() error {
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(cs), cs)).To(Succeed())
		cs.Spec.Paused = false
		return hub.Client.Update(s.ctx, cs)
	}).Should(Succeed())
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReleased)).Should(HavePrefix("True/"))
}
