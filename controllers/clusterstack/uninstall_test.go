// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/trust"
)

func (s *story) cluster(name string) *clusterv1.Cluster {
	s.t.Helper()
	c := &clusterv1.Cluster{}
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: name}, c)).To(Succeed())
	return c
}

func (s *story) deleteCluster(name string) {
	s.t.Helper()
	s.Expect(hub.Client.Delete(s.ctx, s.cluster(name))).To(Succeed())
}

func (s *story) deleteClusterStack(name string) {
	s.t.Helper()
	s.Expect(hub.Client.Delete(s.ctx, &v1alpha1.ClusterStack{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: name}})).To(Succeed())
}

func TestUninstallCleansTheNodesFirst(t *testing.T) {
	s := begin(t)
	s.running()
	agent := &appsv1.DaemonSet{}
	agentKey := client.ObjectKey{Namespace: Namespace, Name: agentName}
	s.deleteClusterStack("alpha")

	s.Eventually(func() []string {
		s.Expect(work.Client.Get(s.ctx, agentKey, agent)).To(Succeed())
		return agent.Spec.Template.Spec.Containers[0].Args
	}).Should(ContainElement("cleanup"))
	s.Eventually(s.condition("alpha", v1alpha1.ConditionUninstalled)).Should(HavePrefix("False/CleaningNodes"))
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("False/Deleting"))
	s.Expect(apierrors.IsNotFound(work.Client.Get(s.ctx, client.ObjectKey{Namespace: Namespace, Name: controllerName}, &appsv1.Deployment{}))).To(BeTrue())

	// One of two nodes is clean: the other is named, and the agents stay.
	s.agentPod("n1", agent.Generation, corev1.ConditionTrue)
	s.agentPod("n2", agent.Generation, corev1.ConditionFalse)
	agent.Status = appsv1.DaemonSetStatus{ObservedGeneration: agent.Generation, DesiredNumberScheduled: 2, CurrentNumberScheduled: 2, UpdatedNumberScheduled: 2, NumberAvailable: 1}
	s.Expect(work.Client.Status().Update(s.ctx, agent)).To(Succeed())
	s.Eventually(s.condition("alpha", v1alpha1.ConditionUninstalled)).Should(HavePrefix("False/CleaningNodes: 1 of 2 nodes are clean; not yet: n2"))
	s.Expect(work.Client.Get(s.ctx, agentKey, agent)).To(Succeed())

	s.runAgents(2)
	s.Eventually(func() bool { return apierrors.IsNotFound(work.Client.Get(s.ctx, agentKey, agent)) }).Should(BeTrue())
	s.Eventually(s.finalizeNamespace).Should(BeTrue())
	s.Eventually(func() error {
		return hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: "alpha"}, &v1alpha1.ClusterStack{})
	}).Should(MatchError(ContainSubstring("not found")))
	crd := &apiextensionsv1.CustomResourceDefinition{}
	s.Expect(apierrors.IsNotFound(work.Client.Get(s.ctx, client.ObjectKey{Name: "nodenetworks.fairlead.io"}, crd))).To(BeTrue())

	t.Run("and installed again it comes up again", func(t *testing.T) {
		s.Expect(work.Client.DeleteAllOf(s.ctx, &corev1.Secret{}, client.InNamespace(Namespace))).To(Succeed())
		s.clusterStack("alpha")
		s.runController()
		s.runAgents(2)
		s.acknowledge("n1", carried, metav1.ConditionTrue, "Synced")
		s.acknowledge("n2", carried, metav1.ConditionTrue, "Synced")
		s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("True/AllNodesAcknowledged: 2 of 2 nodes"))
	})
}

func TestADeletedClusterLetsItsClusterStackGo(t *testing.T) {
	s := begin(t)
	s.running()
	s.deleteCluster("alpha")
	s.Eventually(s.condition("alpha", v1alpha1.ConditionConnected)).Should(HavePrefix("False/ClusterNotFound"))
	s.deleteClusterStack("alpha")
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(ContainSubstring("not found"))
}

func TestAClusterStackThatInstalledNothingGoesAtOnce(t *testing.T) {
	s := begin(t)
	s.alpha()
	// Its NetworkStack is not there, so nothing but the namespace is made.
	s.clusterStack("alpha")
	s.Eventually(s.condition("alpha", v1alpha1.ConditionTrusted)).Should(And(HavePrefix("False/Error"), ContainSubstring("NetworkStack "+s.ns+"/lab")))
	s.deleteClusterStack("alpha")
	s.Eventually(s.finalizeNamespace).Should(BeTrue())
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(ContainSubstring("not found"))
}

func TestAnInterruptedInstallIsHealed(t *testing.T) {
	s := begin(t)
	s.running()
	// As an operator leaves it that was killed in the middle of an upgrade.
	s.interrupt()
	s.Eventually(func() error {
		cs := &v1alpha1.ClusterStack{}
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: "alpha"}, cs)).To(Succeed())
		cs.Spec.CNI.MTU = 1400
		return hub.Client.Update(s.ctx, cs)
	}).Should(Succeed())
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReleased)).Should(HavePrefix("True/ReleaseDeployed: release fairlead-system/fairlead-cni: revision 2"))
}

func TestTheCAIsRenewedBeforeItEnds(t *testing.T) {
	s := begin(t)
	s.running()
	key := client.ObjectKey{Namespace: Namespace, Name: caSecretName}
	secret := &corev1.Secret{}
	s.Expect(work.Client.Get(s.ctx, key, secret)).To(Succeed())
	before := string(secret.Data["tls.crt"])
	root := &corev1.Secret{}
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: trust.RootSecretName("lab")}, root)).To(Succeed())
	parsed, err := trust.ParseRoot(root.Data)
	s.Expect(err).NotTo(HaveOccurred())
	// A CA of this root that is near its end.
	old, err := trust.Next(s.ns+"/alpha", parsed, trust.Held{}, time.Now().Add(-300*24*time.Hour))
	s.Expect(err).NotTo(HaveOccurred())
	secret.Data = old.CA
	s.Expect(work.Client.Update(s.ctx, secret)).To(Succeed())
	s.Eventually(func() bool {
		s.Expect(work.Client.Get(s.ctx, key, secret)).To(Succeed())
		ca, err := trust.ParseAuthority(secret.Data)
		s.Expect(err).NotTo(HaveOccurred())
		return string(secret.Data["tls.crt"]) != before && time.Until(ca.Certificate.NotAfter) > 300*24*time.Hour
	}).Should(BeTrue())
}

// agentPod plays a pod of the agent's DaemonSet.
func (s *story) agentPod(node string, generation int64, ready corev1.ConditionStatus) {
	s.t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "agent-" + node, Labels: map[string]string{
			"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": "agent", "pod-template-generation": itoa(generation),
		}},
		Spec: corev1.PodSpec{NodeName: node, ServiceAccountName: agentName, Containers: []corev1.Container{{Name: "agent", Image: "x"}}},
	}
	s.Expect(work.Client.Create(s.ctx, p)).To(Succeed())
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	s.Expect(work.Client.Status().Update(s.ctx, p)).To(Succeed())
}
