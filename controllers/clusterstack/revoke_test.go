// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"crypto/x509"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/internal/trust"
	"github.com/fairlead-io/fairlead/internal/trust/revocation"
)

// mark annotates a ClusterStack; with no value it removes the annotation.
func (s *story) mark(name, key, value string) {
	s.t.Helper()
	cs := &v1alpha1.ClusterStack{}
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: name}, cs)).To(Succeed())
	old := cs.DeepCopy()
	if cs.Annotations == nil {
		cs.Annotations = map[string]string{}
	}
	if cs.Annotations[key] = value; value == "" {
		delete(cs.Annotations, key)
	}
	s.Expect(hub.Client.Patch(s.ctx, cs, client.MergeFrom(old))).To(Succeed())
}

// ca is the CA that a cluster holds, nil for none.
func (s *story) ca(in *fleettest.Server) *trust.Authority {
	s.t.Helper()
	secret := &corev1.Secret{}
	s.Expect(client.IgnoreNotFound(in.Client.Get(s.ctx, client.ObjectKey{Namespace: Namespace, Name: caSecretName}, secret))).To(Succeed())
	ca, err := trust.ParseAuthority(secret.Data)
	if err != nil {
		return nil
	}
	return ca
}

// listed are the CAs that a cluster is told to refuse.
func (s *story) listed(in *fleettest.Server) func() []string {
	return func() []string {
		cm := &corev1.ConfigMap{}
		if err := in.Client.Get(s.ctx, client.ObjectKey{Namespace: Namespace, Name: trustConfigMapName}, cm); err != nil {
			return []string{err.Error()}
		}
		s.Expect(cm.Data[trust.KeyBundle]).To(ContainSubstring("CERTIFICATE"))
		return s.names([]byte(cm.Data[revocation.Key]))
	}
}

// kept are the CAs that are listed with the stack's root.
func (s *story) kept() []string {
	root := &corev1.Secret{}
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: trust.RootSecretName("lab")}, root)).To(Succeed())
	return s.names(root.Data[revocation.Key])
}

func (s *story) names(text []byte) []string {
	list, err := revocation.Parse(text)
	s.Expect(err).NotTo(HaveOccurred())
	var out []string
	for _, e := range list.Entries() {
		s.Expect(e.Cluster).To(Equal(s.ns + "/alpha"))
		out = append(out, e.Fingerprint.String())
	}
	return out
}

// booked are the CAs that are written down at a ClusterStack.
func (s *story) booked(name string) func() []string {
	return func() []string {
		cs := &v1alpha1.ClusterStack{}
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: name}, cs)).To(Succeed())
		var out []string
		for _, i := range cs.Status.Trust.Intermediates {
			out = append(out, i.Fingerprint)
		}
		return out
	}
}

func TestAClusterIsRevokedAndTakenBack(t *testing.T) {
	s := begin(t)
	s.running()
	s.Expect(s.listed(work)()).To(BeEmpty())
	first := s.ca(work)
	one := revocation.Of(first.Certificate).String()
	s.Eventually(s.booked("alpha")).Should(ConsistOf(one))

	// Somebody has removed the CA, perhaps to keep it: the next one is another, and both count.
	s.Expect(work.Client.DeleteAllOf(s.ctx, &corev1.Secret{}, client.InNamespace(Namespace), client.MatchingFields{"metadata.name": caSecretName})).To(Succeed())
	s.Eventually(func() *trust.Authority { return s.ca(work) }).ShouldNot(BeNil())
	second := s.ca(work)
	two := revocation.Of(second.Certificate).String()
	s.Eventually(s.booked("alpha")).Should(ConsistOf(one, two))
	s.mark("alpha", v1alpha1.TrustRevokedAnnotation, "true")
	trusted := s.condition("alpha", v1alpha1.ConditionTrusted)
	s.Eventually(trusted).Should(And(HavePrefix("False/TrustRevoked: "), ContainSubstring("remove the annotation from ClusterStack "+s.ns+"/alpha")))
	s.Eventually(s.kept).Should(ConsistOf(one, two))
	s.Eventually(s.listed(work)).Should(ConsistOf(one, two))
	s.Expect(s.ca(work).Certificate.Equal(second.Certificate)).To(BeTrue(), "a new CA was made for a cluster that is revoked")

	// One turns up that was never written down.
	root := &corev1.Secret{}
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: trust.RootSecretName("lab")}, root)).To(Succeed())
	parsed, err := trust.ParseRoot(root.Data)
	s.Expect(err).NotTo(HaveOccurred())
	third, err := trust.Next(s.ns+"/alpha", parsed, trust.Held{}, time.Now())
	s.Expect(err).NotTo(HaveOccurred())
	three := revocation.Of(third.Intermediate).String()
	s.Eventually(func() error {
		secret := &corev1.Secret{}
		s.Expect(work.Client.Get(s.ctx, client.ObjectKey{Namespace: Namespace, Name: caSecretName}, secret)).To(Succeed())
		secret.Data = third.CA
		return work.Client.Update(s.ctx, secret)
	}).Should(Succeed())
	s.Eventually(s.kept).Should(ConsistOf(one, two, three))
	s.Eventually(s.listed(work)).Should(ConsistOf(one, two, three))
	s.Eventually(s.condition("alpha", v1alpha1.ConditionStalled)).Should(HavePrefix("True/TrustRevoked"))
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("False/TrustRevoked"))

	s.mark("alpha", v1alpha1.TrustRevokedAnnotation, "")
	s.Eventually(trusted).Should(HavePrefix("True/TrustApplied"))
	fresh := s.ca(work)
	four := revocation.Of(fresh.Certificate).String()
	s.Expect([]string{one, two, three}).NotTo(ContainElement(four))
	s.Eventually(s.booked("alpha")).Should(ConsistOf(four))
	s.Expect(s.kept()).To(ConsistOf(one, two, three))
	s.Expect(s.listed(work)()).To(ConsistOf(one, two, three))
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReady)).Should(HavePrefix("True/"))
}

// TestAClusterThatDoesNotAnswerIsRevoked has another cluster of the stack, which is paused
// with it, learn of it all the same.
func TestAClusterThatDoesNotAnswerIsRevoked(t *testing.T) {
	s := begin(t)
	gone, err := fleettest.Workload()
	s.Expect(err).NotTo(HaveOccurred())
	defer func() { s.Expect(gone.Stop()).To(Succeed()) }()
	s.networkStack()
	kubeconfigs := map[string]*corev1.Secret{}
	for name, at := range map[string]*fleettest.Server{"alpha": gone, "bravo": work} {
		host, port := at.Endpoint()
		fleettest.CreateCluster(s.ctx, t, hub.Client, s.ns, name, nil, host, port)
		kubeconfig, err := at.AddUser("fairlead-operator")
		s.Expect(err).NotTo(HaveOccurred())
		kubeconfigs[name] = fleettest.KubeconfigSecret(s.ns, name, kubeconfig)
		s.Expect(hub.Client.Create(s.ctx, kubeconfigs[name])).To(Succeed())
		s.clusterStack(name)
		s.Eventually(s.condition(name, v1alpha1.ConditionTrusted)).Should(HavePrefix("True/"))
	}
	lost := revocation.Of(s.ca(gone).Certificate).String()
	s.Eventually(s.booked("alpha")).Should(ConsistOf(lost))
	s.Eventually(func() error {
		cs := &v1alpha1.ClusterStack{}
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: "bravo"}, cs)).To(Succeed())
		cs.Spec.Paused = true
		return hub.Client.Update(s.ctx, cs)
	}).Should(Succeed())
	s.Eventually(func() bool {
		cs := &v1alpha1.ClusterStack{}
		s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: "bravo"}, cs)).To(Succeed())
		return cs.Spec.Paused && cs.Status.ObservedGeneration == cs.Generation
	}).Should(BeTrue(), "the other cluster rests")
	held := s.ca(work)
	nowhere, err := fleettest.Kubeconfig(&rest.Config{Host: "https://127.0.0.1:1", TLSClientConfig: gone.Config.TLSClientConfig})
	s.Expect(err).NotTo(HaveOccurred())
	s.put(kubeconfigs["alpha"], nowhere)
	s.Eventually(s.condition("alpha", v1alpha1.ConditionConnected)).Should(HavePrefix("False/Unreachable"))

	began := time.Now()
	s.mark("alpha", v1alpha1.TrustRevokedAnnotation, "true")
	s.Eventually(s.listed(work)).Should(ConsistOf(lost))
	t.Logf("the other cluster was told after %s", time.Since(began).Round(time.Millisecond))
	s.Eventually(s.condition("alpha", v1alpha1.ConditionTrusted)).Should(HavePrefix("False/TrustRevoked"))
	s.Expect(s.condition("bravo", v1alpha1.ConditionTrusted)()).To(HavePrefix("True/"))
	s.Expect(s.ca(work).Certificate.Equal(held.Certificate)).To(BeTrue(), "the other cluster's CA was replaced")
}

// TestANewRootSettlesBeforeItSigns replaces the root, and lets the time pass that kubelets
// take to bring its bundle to every pod.
func TestANewRootSettlesBeforeItSigns(t *testing.T) {
	var ahead atomic.Int64
	s := beginWith(t, func(s *story) { s.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) } })
	s.running()
	held := s.ca(work)
	secret := &corev1.Secret{}
	s.Expect(hub.Client.Get(s.ctx, client.ObjectKey{Namespace: s.ns, Name: trust.RootSecretName("lab")}, secret)).To(Succeed())
	former, err := trust.ParseRoot(secret.Data)
	s.Expect(err).NotTo(HaveOccurred())
	authority, err := trust.NewRoot(s.ns+"/lab", time.Now())
	s.Expect(err).NotTo(HaveOccurred())
	next := &trust.Root{Authority: authority, Bundle: append([]*x509.Certificate{authority.Certificate}, former.Bundle...)}
	secret.Data, err = next.Data()
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(hub.Client.Update(s.ctx, secret)).To(Succeed())

	look := func(why string) { s.mark("alpha", "example.com/look", why) }
	look("there is a new root")
	s.Eventually(s.condition("alpha", v1alpha1.ConditionTrusted)).Should(And(HavePrefix("True/"), ContainSubstring("a new root is in the bundle")))
	cm := &corev1.ConfigMap{}
	s.Expect(work.Client.Get(s.ctx, client.ObjectKey{Namespace: Namespace, Name: trustConfigMapName}, cm)).To(Succeed())
	s.Expect(cm.Data[trust.KeyBundle]).To(HavePrefix(string(trust.EncodeBundle(next.Bundle...))))
	s.Expect(s.ca(work).Certificate.Equal(held.Certificate)).To(BeTrue(), "nodes meet a CA whose root they do not have")

	ahead.Store(int64(trust.Settle))
	look("it has settled")
	s.Eventually(func() error { return s.ca(work).Certificate.CheckSignatureFrom(authority.Certificate) }).Should(Succeed())
	s.Eventually(s.condition("alpha", v1alpha1.ConditionTrusted)).Should(ContainSubstring("the CA is renewed on"))
}

func TestAClusterIsNotGivenCAsWithoutEnd(t *testing.T) {
	g, now := NewWithT(t), time.Now()
	root, err := trust.NextRoot("fleet/lab", nil, now)
	g.Expect(err).NotTo(HaveOccurred())
	s := &scope{cs: &v1alpha1.ClusterStack{}, root: root}
	give := func(at time.Time) error {
		next, err := trust.Next("fleet/alpha", root, trust.Held{}, at)
		g.Expect(err).NotTo(HaveOccurred())
		fresh, err := s.book(next.Intermediate, at)
		g.Expect(fresh).To(Equal(err == nil))
		again, _ := s.book(next.Intermediate, at)
		g.Expect(again).To(BeFalse())
		return err
	}
	for range v1alpha1.MaxIntermediates {
		g.Expect(give(now)).To(Succeed())
	}
	g.Expect(give(now)).To(MatchError(ContainSubstring("64 CAs that are still valid")))

	t.Log("those that are listed make room once the cluster is taken back, and those that have ended")
	s.revoked = true
	root.Revoked, err = root.Revoked.With(now, s.booked()[1:]...)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(give(now)).NotTo(Succeed())
	s.revoked = false
	g.Expect(give(now)).To(Succeed())
	g.Expect(s.cs.Status.Trust.Intermediates).To(HaveLen(2))
	g.Expect(give(now.Add(2 * trust.IntermediateValidity))).To(Succeed())
	g.Expect(s.cs.Status.Trust.Intermediates).To(HaveLen(1))
}
