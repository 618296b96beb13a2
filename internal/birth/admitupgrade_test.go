// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/trust"
)

// machines creates a MachineDeployment of a Cluster.
func (s *story) machines(cluster string) *clusterv1.MachineDeployment {
	s.t.Helper()
	md := &clusterv1.MachineDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: cluster, Labels: map[string]string{clusterv1.ClusterNameLabel: cluster}}}
	md.Spec.ClusterName = cluster
	md.Spec.Selector.MatchLabels = map[string]string{"of": cluster}
	md.Spec.Template.Labels = map[string]string{"of": cluster}
	secret := "bootstrap"
	md.Spec.Template.Spec = clusterv1.MachineSpec{
		ClusterName: cluster, Version: "v1.35.4", Bootstrap: clusterv1.Bootstrap{DataSecretName: &secret},
		InfrastructureRef: clusterv1.ContractVersionedObjectReference{APIGroup: "infrastructure.cluster.x-k8s.io", Kind: "LabMachineTemplate", Name: cluster},
	}
	s.create(md)
	return md
}

// upgrades has the API server ask a replica about upgrades, for the length of the test.
func (s *story) upgrades(r *replica) {
	s.t.Helper()
	root, err := s.identity(0).Roots.Operator(s.ctx, "fairlead-system")
	s.Expect(err).NotTo(HaveOccurred())
	url, none, fail := r.url+UpgradePath, admissionv1.SideEffectClassNone, admissionv1.Fail
	hook := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: s.ns}, Webhooks: []admissionv1.ValidatingWebhook{{
		Name: upgradesOf, AdmissionReviewVersions: []string{"v1"}, SideEffects: &none, FailurePolicy: &fail,
		ClientConfig:      admissionv1.WebhookClientConfig{URL: &url, CABundle: trust.EncodeBundle(root.Bundle...)},
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": s.ns}},
		Rules: []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{admissionv1.Update},
			Rule: admissionv1.Rule{APIGroups: []string{"cluster.x-k8s.io"}, APIVersions: []string{"v1beta2"}, Resources: []string{"machinedeployments"}}}},
	}}}
	s.create(hook)
	s.t.Cleanup(func() { _ = hub.Client.Delete(context.Background(), hook) })
}

// set gives a MachineDeployment another version, or only a dry run of it.
func (s *story) set(md *clusterv1.MachineDeployment, version string, o ...client.PatchOption) error {
	old := md.DeepCopy()
	next := md.DeepCopy()
	next.Spec.Template.Spec.Version = version
	return hub.Client.Patch(s.ctx, next, client.MergeFrom(old), o...)
}

func TestAnUpgradeWithoutATopologyIsRefusedUntilTheNetworkSupportsIt(t *testing.T) {
	s := begin(t)
	s.network(func(*v1alpha1.NetworkStack) {})
	bare := s.cluster("a")
	bare.Spec.Topology = clusterv1.Topology{}
	bare.Spec.InfrastructureRef = clusterv1.ContractVersionedObjectReference{APIGroup: "infrastructure.cluster.x-k8s.io", Kind: "LabCluster", Name: "a"}
	s.create(bare)
	s.create(s.cluster("b"))
	s.proven("v0.1.0")
	s.upgrades(s.replica(two))
	mine, others := s.machines("a"), s.machines("b")

	// The API server takes a moment to learn of a webhook.
	s.Eventually(func() error { return s.set(mine, "v1.36.0", client.DryRunAll) }, "10s", "200ms").Should(MatchError(ContainSubstring(
		"Fairlead v0.1.0 needs Kubernetes >=1.33.0-0 <1.36.0-0, and there is v1.36.0: set spec.version of NetworkStack net to one that does: [v0.2.0]")))
	s.Expect(apierrors.IsForbidden(s.set(mine, "v1.36.0"))).To(BeTrue())
	s.Expect(s.set(mine, "v1.35.9", client.DryRunAll)).To(Succeed(), "what is supported")
	s.Expect(s.set(others, "v1.36.0")).To(Succeed(), "a topology's is Cluster API's, which has asked by a hook")
	s.proven("v0.2.0")
	s.Eventually(func() error { return s.set(mine, "v1.36.0") }).Should(Succeed())
}
