// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"context"
	"encoding/base64"
	"log/slog"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/internal/stack"
	"github.com/fairlead-io/fairlead/internal/trust"
)

// identity is one with the operator's rights, whose clock is ahead.
func (s *story) identity(ahead time.Duration) *Identity {
	s.t.Helper()
	scheme, err := fleettest.Scheme()
	s.Expect(err).NotTo(HaveOccurred())
	c, err := client.New(hub.Operator(), client.Options{Scheme: scheme})
	s.Expect(err).NotTo(HaveOccurred())
	now := func() time.Time { return time.Now().Add(ahead) }
	return &Identity{
		Roots: &trust.Store{Reader: c, Writer: c, Now: now}, Name: "fairlead", Namespace: "fairlead-system",
		Hosts: []string{"fairlead-operator-hooks.fairlead-system.svc", "127.0.0.1"}, Reader: c, Writer: c, Now: now, Log: slog.New(slog.DiscardHandler),
	}
}

// extension creates the ExtensionConfig that the chart has, for the length of the test.
func (s *story) extension() {
	s.t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"clientConfig": map[string]any{"url": "https://127.0.0.1:1"}}}}
	u.SetAPIVersion("runtime.cluster.x-k8s.io/v1beta2")
	u.SetKind("ExtensionConfig")
	u.SetName("fairlead")
	s.create(u)
	s.t.Cleanup(func() { _ = hub.Client.Delete(context.Background(), u) })
}

// bundle is how many roots the ExtensionConfig names.
func (s *story) bundle() int {
	s.t.Helper()
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("runtime.cluster.x-k8s.io/v1beta2")
	u.SetKind("ExtensionConfig")
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Name: "fairlead"}, u)).To(Succeed())
	text, _, _ := unstructured.NestedString(u.Object, "spec", "clientConfig", "caBundle")
	url, _, _ := unstructured.NestedString(u.Object, "spec", "clientConfig", "url")
	s.Expect(url).To(Equal("https://127.0.0.1:1"), "the rest is not the operator's")
	raw, err := base64.StdEncoding.DecodeString(text)
	s.Expect(err).NotTo(HaveOccurred())
	return strings.Count(string(raw), "BEGIN CERTIFICATE")
}

func TestCallersAreToldHowToVerifyTheOperator(t *testing.T) {
	s := begin(t)
	t.Cleanup(func() { // the root of a time to come
		_ = hub.Client.Delete(context.Background(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead-system", Name: "fairlead-operator-root"}})
	})
	first := s.identity(0)
	s.Expect(first.introduce(s.ctx)).To(Succeed(), "without an ExtensionConfig there is nobody to tell")
	s.extension()
	s.Expect(first.introduce(s.ctx)).To(Succeed())
	s.Expect(s.bundle()).To(Equal(1))
	a, err := first.Certificate(nil)
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(a.Leaf.VerifyHostname("fairlead-operator-hooks.fairlead-system.svc")).To(Succeed())
	s.Expect(a.Leaf.VerifyHostname("127.0.0.1")).To(Succeed())
	again, err := first.Certificate(nil)
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(again).To(BeIdenticalTo(a))

	t.Run("a certificate is renewed", func(t *testing.T) {
		first.Now = func() time.Time { return time.Now().Add(trust.ServingValidity * 3 / 4) }
		b, err := first.Certificate(nil)
		s.Expect(err).NotTo(HaveOccurred())
		s.Expect(b).NotTo(BeIdenticalTo(a))
	})
	t.Run("and the root, while the former one still counts", func(t *testing.T) {
		later := s.identity(trust.RootValidity * 9 / 10)
		s.Expect(later.introduce(s.ctx)).To(Succeed())
		s.Expect(s.bundle()).To(Equal(2))
	})
}

func TestClustersThatAreCreatedWithoutATopologyWait(t *testing.T) {
	s := begin(t)
	r := s.replica(stack.Versions{})
	root, err := s.identity(0).Roots.Operator(s.ctx, "fairlead-system")
	s.Expect(err).NotTo(HaveOccurred())
	url, none, fail := r.url+AdmissionPath, admissionv1.SideEffectClassNone, admissionv1.Fail
	s.create(&admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: s.ns}, Webhooks: []admissionv1.MutatingWebhook{{
		Name: webhookOf, AdmissionReviewVersions: []string{"v1"}, SideEffects: &none, FailurePolicy: &fail,
		ClientConfig:      admissionv1.WebhookClientConfig{URL: &url, CABundle: trust.EncodeBundle(root.Bundle...)},
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": s.ns}},
		Rules: []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{admissionv1.Create},
			Rule: admissionv1.Rule{APIGroups: []string{"cluster.x-k8s.io"}, APIVersions: []string{"v1beta2"}, Resources: []string{"clusters"}}}},
	}}})
	t.Cleanup(func() {
		_ = hub.Client.Delete(context.Background(), &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: s.ns}})
	})
	bare := func(name string) *clusterv1.Cluster {
		c := s.cluster(name)
		c.Spec.Topology = clusterv1.Topology{}
		c.Spec.InfrastructureRef = clusterv1.ContractVersionedObjectReference{APIGroup: "infrastructure.cluster.x-k8s.io", Kind: "LabCluster", Name: name}
		return c
	}
	// The API server takes a moment to learn of a webhook.
	probe := 0
	s.create(s.pool())
	s.Eventually(func() bool {
		probe++
		c := bare("probe-" + string(rune('a'+probe)))
		s.create(c)
		return c.Spec.Paused != nil
	}, "10s", "300ms").Should(BeTrue())

	no := false
	for _, c := range []struct {
		name   string
		make   func(*clusterv1.Cluster)
		paused bool
	}{
		{"bare", func(*clusterv1.Cluster) {}, true},
		{"with-topology", func(c *clusterv1.Cluster) { *c = *s.cluster("with-topology") }, false},
		{"told-not-to", func(c *clusterv1.Cluster) { c.Spec.Paused = &no }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := bare(c.name)
			c.make(cluster)
			s.create(cluster)
			s.Expect(cluster.Spec.Paused != nil && *cluster.Spec.Paused).To(Equal(c.paused))
			s.Expect(cluster.Annotations[v1alpha1.AnnotationBirth] == v1alpha1.BirthPending).To(Equal(c.paused))
		})
	}
}
