// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// kubeadmControlPlane makes the KubeadmControlPlane of alpha, and its kind where it is missing.
func (s *story) kubeadmControlPlane() *clusterv1.ContractVersionedObjectReference {
	s.t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/cluster-api").Output()
	s.Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(strings.TrimSpace(string(dir)), "controlplane", "kubeadm", "config", "crd", "bases", "controlplane.cluster.x-k8s.io_kubeadmcontrolplanes.yaml")
	raw, err := os.ReadFile(file)
	s.Expect(err).NotTo(HaveOccurred())
	crd := &apiextensionsv1.CustomResourceDefinition{}
	s.Expect(yaml.Unmarshal(raw, crd)).To(Succeed())
	if err := hub.Client.Create(s.ctx, crd); !apierrors.IsAlreadyExists(err) {
		s.Expect(err).NotTo(HaveOccurred())
	}
	kcp := s.kcp()
	kcp.Object["spec"] = map[string]any{
		"replicas": int64(1), "version": "v1.35.4", "kubeadmConfigSpec": map[string]any{"clusterConfiguration": map[string]any{"certificateValidityPeriodDays": int64(10)}},
		"machineTemplate": map[string]any{"spec": map[string]any{"infrastructureRef": map[string]any{"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "T", "name": "t"}}},
	}
	s.Eventually(func() error { return hub.Client.Create(s.ctx, kcp) }).Should(Succeed())
	return &clusterv1.ContractVersionedObjectReference{APIGroup: controlPlaneGroup, Kind: "KubeadmControlPlane", Name: "alpha"}
}

func (s *story) kcp() *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	o.SetAPIVersion(controlPlaneGroup + "/v1beta2")
	o.SetKind("KubeadmControlPlane")
	o.SetNamespace(s.ns)
	o.SetName("alpha")
	return o
}

// skipped says whether the control plane's controller is kept from kube-proxy.
func (s *story) skipped() bool {
	o := s.kcp()
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
	_, is := o.GetAnnotations()[skipKubeProxy]
	return is
}

// kubeProxy makes kube-proxy as kubeadm does, with these labels.
func (s *story) kubeProxy(labels map[string]string) {
	s.t.Helper()
	selector := map[string]string{"k8s-app": "kube-proxy"}
	d := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-proxy", Labels: labels},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: selector},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: selector},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "kube-proxy", Image: "kube-proxy"}}},
			},
		},
	}
	s.Expect(work.Client.Create(s.ctx, d)).To(Succeed())
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-proxy"}}
	s.Expect(client.IgnoreAlreadyExists(work.Client.Create(s.ctx, cm))).To(Succeed())
}

// runKubeProxy plays the DaemonSet controller with kube-proxy available on all nodes.
func (s *story) runKubeProxy(n int32) {
	s.t.Helper()
	d := &appsv1.DaemonSet{}
	s.Expect(work.Client.Get(s.ctx, client.ObjectKey{Namespace: "kube-system", Name: "kube-proxy"}, d)).To(Succeed())
	d.Status = appsv1.DaemonSetStatus{ObservedGeneration: d.Generation, DesiredNumberScheduled: n, CurrentNumberScheduled: n, UpdatedNumberScheduled: n, NumberAvailable: n, NumberReady: n}
	s.Expect(work.Client.Status().Update(s.ctx, d)).To(Succeed())
}

// kubeProxyStands says whether the DaemonSet is there.
func (s *story) kubeProxyStands() bool {
	err := work.Client.Get(s.ctx, client.ObjectKey{Namespace: "kube-system", Name: "kube-proxy"}, &appsv1.DaemonSet{})
	s.Expect(client.IgnoreNotFound(err)).To(Succeed())
	return err == nil
}

// serves plays the cluster's controller: a node's agent balances Services, or not.
func (s *story) serves(node string, status metav1.ConditionStatus) {
	s.t.Helper()
	n := &v1alpha1.NodeNetwork{}
	s.Eventually(func() error {
		if err := work.Client.Get(s.ctx, client.ObjectKey{Name: node}, n); err != nil {
			return err
		}
		meta.SetStatusCondition(&n.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionServicesReady, Status: status, Reason: "Test"})
		return work.Client.Status().Update(s.ctx, n)
	}).Should(Succeed())
}

// crowded plays the cluster's controller: a node's agent has little room left, or enough ("").
func (s *story) crowded(node, words string) {
	s.t.Helper()
	n := &v1alpha1.NodeNetwork{}
	s.Eventually(func() error {
		if err := work.Client.Get(s.ctx, client.ObjectKey{Name: node}, n); err != nil {
			return err
		}
		meta.RemoveStatusCondition(&n.Status.Conditions, v1alpha1.ConditionServiceMapsNearlyFull)
		if words != "" {
			meta.SetStatusCondition(&n.Status.Conditions, metav1.Condition{
				Type: v1alpha1.ConditionServiceMapsNearlyFull, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonLittleRoom, Message: words,
			})
		}
		return work.Client.Status().Update(s.ctx, n)
	}).Should(Succeed())
}

// replaces sets spec.cni.kubeProxyReplacement of alpha's ClusterStack.
func (s *story) replaces(is v1alpha1.KubeProxyReplacement) {
	s.t.Helper()
	s.Eventually(func() error {
		cs := &v1alpha1.ClusterStack{}
		if err := hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: "alpha"}, cs); err != nil {
			return err
		}
		cs.Spec.CNI.KubeProxyReplacement = is
		return hub.Client.Update(s.ctx, cs)
	}).Should(Succeed())
}

// agentsServe says whether the agents are told to balance Services.
func (s *story) agentsServe() bool {
	d, err := work.Agents(s.ctx)
	s.Expect(err).NotTo(HaveOccurred())
	for _, a := range d.Spec.Template.Spec.Containers[0].Args {
		if a == servicesFlag {
			return true
		}
	}
	return false
}

// serving brings alpha, whose Services kube-proxy balances, to where its agents are told to.
func (s *story) serving(controlPlane *clusterv1.ContractVersionedObjectReference) {
	s.t.Helper()
	s.networkStack()
	s.connectable(controlPlane)
	s.node("n1")
	s.node("n2")
	s.clusterStack("alpha")
	s.replaces(v1alpha1.KubeProxyReplacementEnabled)
	s.runController()
	s.Eventually(s.agentsServe).Should(BeTrue())
	s.runController()
	s.runAgents(2)
	s.acknowledge("n1", carried, metav1.ConditionTrue, "Synced")
	s.acknowledge("n2", carried, metav1.ConditionTrue, "Synced")
}

func TestKubeProxyGoesWhenEveryNodeBalancesServices(t *testing.T) {
	s := begin(t)
	s.kubeProxy(map[string]string{"k8s-app": "kube-proxy"})
	s.serving(s.kubeadmControlPlane())
	removed := s.condition("alpha", v1alpha1.ConditionKubeProxyRemoved)
	s.Eventually(removed).Should(Equal("False/ServicesNotReady: DaemonSet kube-system/kube-proxy is kept until every node balances Services; not yet: n1, n2"))
	s.serves("n1", metav1.ConditionTrue)
	s.serves("n2", metav1.ConditionUnknown)
	s.Eventually(removed).Should(HaveSuffix("not yet: n2"))
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("False/ServicesNotReady"))
	s.Expect(s.kubeProxyStands()).To(BeTrue())
	s.Expect(s.skipped()).To(BeFalse())

	s.serves("n2", metav1.ConditionTrue)
	s.Eventually(removed).Should(HavePrefix("True/KubeProxyAbsent"))
	s.Expect(s.kubeProxyStands()).To(BeFalse())
	s.Expect(s.skipped()).To(BeTrue())
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("True/AllNodesAcknowledged"))
	s.Expect(work.Client.Get(s.ctx, client.ObjectKey{Namespace: "kube-system", Name: "kube-proxy"}, &corev1.ConfigMap{})).To(Succeed())

	// What comes near to the end of a map is told, and takes nothing from being ready.
	room := s.condition("alpha", v1alpha1.ConditionServiceMapsNearlyFull)
	none := room()
	s.crowded("n2", "backends: raise it")
	s.Eventually(room).Should(Equal("True/LittleRoom: 1 of 2 nodes have little room left for Services; which: n2; the first says: backends: raise it"))
	s.Expect(s.condition("alpha", v1alpha1.ConditionReady)()).To(HavePrefix("True/AllNodesAcknowledged"))
	s.crowded("n2", "")
	s.Eventually(room).Should(Equal(none))
	s.Eventually(func() (notes []string) {
		var list eventsv1.EventList
		s.Expect(hub.Client.List(s.ctx, &list, client.InNamespace(s.ns))).To(Succeed())
		for _, e := range list.Items {
			notes = append(notes, e.Reason+": "+e.Note)
		}
		return notes
	}).Should(ContainElement("KubeProxyRemoved: DaemonSet kube-system/kube-proxy is removed, because all 2 nodes balance Services without it; its ConfigMap is kept"))

	t.Run("and is not handed Services that it cannot take", func(t *testing.T) {
		s.replaces(v1alpha1.KubeProxyReplacementDisabled)
		s.Eventually(removed).Should(And(HavePrefix("True/KubeProxyMissing"), ContainSubstring("there is no DaemonSet kube-system/kube-proxy"),
			ContainSubstring("kubeadm init phase addon kube-proxy"), ContainSubstring("annotate ClusterStack alpha with fairlead.io/kube-proxy-returned=true")))
		s.Eventually(s.condition("alpha", v1alpha1.ConditionStalled)).Should(HavePrefix("True/KubeProxyMissing"))
		s.Expect(s.condition("alpha", v1alpha1.ConditionReady)()).To(HavePrefix("False/KubeProxyMissing"))
		s.kubeProxy(map[string]string{"k8s-app": "kube-proxy"})
		s.Eventually(removed).Should(And(HavePrefix("False/KubeProxyMissing"), ContainSubstring("is available on 0 of 0 nodes")))
		s.Expect(s.agentsServe()).To(BeTrue())
		s.Expect(s.skipped()).To(BeTrue())
	})
	t.Run("but gets them back when it runs", func(t *testing.T) {
		s.runKubeProxy(2)
		s.Eventually(s.agentsServe).Should(BeFalse())
		s.runAgents(2)
		s.runController()
		s.Eventually(removed).Should(BeEmpty())
		s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("True/"))
		s.Expect(s.skipped()).To(BeFalse())
		s.Expect(s.kubeProxyStands()).To(BeTrue())
	})
}

func TestAKubeProxyOfOthersIsLeftToAPerson(t *testing.T) {
	s := begin(t)
	s.kubeProxy(map[string]string{"app": "somebodys"})
	s.serving(nil)
	s.serves("n1", metav1.ConditionTrue)
	s.serves("n2", metav1.ConditionTrue)
	s.Eventually(s.condition("alpha", v1alpha1.ConditionStalled)).Should(And(HavePrefix("True/KubeProxyForeign"), ContainSubstring("remove it when every node's NodeNetwork has ServicesReady=True")))
	s.Expect(s.kubeProxyStands()).To(BeTrue())
}

func TestAPersonVouchesForAnotherProxy(t *testing.T) {
	s := begin(t)
	s.serving(nil)
	s.serves("n1", metav1.ConditionTrue)
	s.serves("n2", metav1.ConditionTrue)
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("True/"))
	s.replaces(v1alpha1.KubeProxyReplacementDisabled)
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("False/KubeProxyMissing"))
	s.Expect(s.agentsServe()).To(BeTrue())
	cs := &v1alpha1.ClusterStack{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "alpha"}}
	vouch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"fairlead.io/kube-proxy-returned":"true"}}}`))
	s.Expect(hub.Client.Patch(s.ctx, cs, vouch)).To(Succeed())
	s.Eventually(s.agentsServe).Should(BeFalse())
	// The word is for one time.
	s.replaces(v1alpha1.KubeProxyReplacementEnabled)
	s.Eventually(func() map[string]string {
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKeyFromObject(cs), cs)).To(Succeed())
		return cs.Annotations
	}).ShouldNot(HaveKey(v1alpha1.KubeProxyReturnedAnnotation))
}
