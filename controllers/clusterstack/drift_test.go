// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// respec changes alpha's ClusterStack, as the NetworkStack's controller does.
func (s *story) respec(change func(*v1alpha1.ClusterStackSpec)) {
	s.t.Helper()
	cs := &v1alpha1.ClusterStack{}
	s.Eventually(func() error {
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: "alpha"}, cs)).To(Succeed())
		change(&cs.Spec)
		return hub.Client.Update(s.ctx, cs)
	}).Should(Succeed())
	s.Eventually(func() bool {
		generation := cs.Generation
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(cs), cs)).To(Succeed())
		return cs.Status.ObservedGeneration >= generation
	}).Should(BeTrue())
}

func (s *story) replicas() func() int32 {
	return func() int32 {
		d := &appsv1.Deployment{}
		s.Expect(work.Client.Get(s.ctx, client.ObjectKey{Namespace: Namespace, Name: controllerName}, d)).To(Succeed())
		return *d.Spec.Replicas
	}
}

func (s *story) scale(to int32) {
	s.t.Helper()
	d := &appsv1.Deployment{}
	s.Eventually(func() error {
		s.Expect(work.Client.Get(s.ctx, client.ObjectKey{Namespace: Namespace, Name: controllerName}, d)).To(Succeed())
		d.Spec.Replicas = &to
		return work.Client.Update(s.ctx, d, client.FieldOwner("kubectl-edit"))
	}).Should(Succeed())
}

func TestDriftIsPutRightOrReported(t *testing.T) {
	s := begin(t)
	s.running()

	t.Run("a changed object is put right", func(t *testing.T) {
		s.scale(1)
		s.Eventually(s.replicas()).Should(Equal(int32(2)))
		s.Eventually(s.condition("alpha", v1alpha1.ConditionDrifted)).Should(BeEmpty())
	})
	t.Run("deleted rights come back", func(t *testing.T) {
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: controllerName}}
		s.Expect(work.Client.Delete(s.ctx, role)).To(Succeed())
		s.Eventually(func() error { return work.Client.Get(s.ctx, client.ObjectKeyFromObject(role), role) }).Should(Succeed())
	})
	t.Run("with Report they are named and left", func(t *testing.T) {
		s.respec(func(spec *v1alpha1.ClusterStackSpec) { spec.DriftPolicy = v1alpha1.DriftReport })
		s.scale(1)
		s.Eventually(s.condition("alpha", v1alpha1.ConditionDrifted)).Should(Equal(
			"True/ObjectsDiffer: Deployment fairlead-system/fairlead-controller: /spec/replicas (changed by kubectl-edit)"))
		s.Expect(s.replicas()()).To(Equal(int32(1)))
		s.Expect(s.condition("alpha", v1alpha1.ConditionReleased)()).To(HavePrefix("True/"))
	})
	t.Run("what spec.driftIgnore names is not drift", func(t *testing.T) {
		s.respec(func(spec *v1alpha1.ClusterStackSpec) {
			spec.DriftPolicy = v1alpha1.DriftCorrect
			spec.DriftIgnore = []v1alpha1.DriftIgnore{{Kind: "Deployment", Fields: []v1alpha1.JSONPointer{"/spec/replicas"}}}
		})
		s.Eventually(s.condition("alpha", v1alpha1.ConditionDrifted)).Should(BeEmpty())
		s.Expect(s.replicas()()).To(Equal(int32(1)))
	})
	s.Expect(s.condition("alpha", v1alpha1.ConditionReleased)()).To(ContainSubstring("revision 1"))
}

func TestAVersionWithoutAChart(t *testing.T) {
	s := begin(t)
	s.running()
	s.respec(func(spec *v1alpha1.ClusterStackSpec) { spec.Version, spec.PlanDigest = "v9.9.9", "q" })
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReleased)).Should(And(
		HavePrefix("False/VersionNotSupported: there is no chart of version v9.9.9"), ContainSubstring("there are charts of v0.1.0: set spec.version of NetworkStack lab")))
	s.Eventually(s.condition("alpha", v1alpha1.ConditionStalled)).Should(HavePrefix("True/VersionNotSupported"))

	// Its agents can be told to clean up all the same, by the chart that the release has.
	s.deleteClusterStack("alpha")
	agents := &appsv1.DaemonSet{}
	s.Eventually(func() []string {
		s.Expect(work.Client.Get(s.ctx, client.ObjectKey{Namespace: Namespace, Name: agentName}, agents)).To(Succeed())
		return agents.Spec.Template.Spec.Containers[0].Args
	}).Should(ContainElement("cleanup"))
	s.runAgents(2)
	s.Eventually(func() bool {
		s.finalizeNamespace()
		err := hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: "alpha"}, &v1alpha1.ClusterStack{})
		return apierrors.IsNotFound(err)
	}).Should(BeTrue())
}

func TestAPlanThatTheClusterHadComesBackWithoutAChart(t *testing.T) {
	s := begin(t)
	s.running()
	s.respec(func(spec *v1alpha1.ClusterStackSpec) { spec.CNI.MTU, spec.PlanDigest = 1400, "q" })
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReleased)).Should(ContainSubstring("revision 2"))
	s.respec(func(spec *v1alpha1.ClusterStackSpec) { spec.Version, spec.PlanDigest = "v0.0.9", "p" })
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReleased)).Should(And(HavePrefix("True/"), ContainSubstring("revision 3")))
	d := &appsv1.DaemonSet{}
	s.Expect(work.Client.Get(s.ctx, client.ObjectKey{Namespace: Namespace, Name: agentName}, d)).To(Succeed())
	s.Expect(d.Spec.Template.Spec.Containers[0].Args).To(ContainElement("--mtu=0"))
}
