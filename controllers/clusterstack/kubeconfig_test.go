// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
)

func TestAKubeconfigThatIsMissingMalformedAndThenRight(t *testing.T) {
	s := begin(t)
	s.networkStack()
	host, port := work.Endpoint()
	fleettest.CreateCluster(s.ctx, t, hub.Client, s.ns, "alpha", nil, host, port)
	s.clusterStack("alpha")
	connected := s.condition("alpha", v1alpha1.ConditionConnected)
	name := s.ns + "/alpha-kubeconfig"
	s.Eventually(connected).Should(And(HavePrefix("False/KubeconfigMissing"), ContainSubstring("Secret "+name), ContainSubstring(`key "value"`)))
	s.Eventually(s.condition("alpha", v1alpha1.ConditionStalled)).Should(HavePrefix("True/KubeconfigMissing"))

	secret := fleettest.KubeconfigSecret(s.ns, "alpha", nil)
	secret.Data = map[string][]byte{"config": []byte("x")}
	s.Expect(hub.Client.Create(s.ctx, secret)).To(Succeed())
	s.Eventually(connected).Should(And(HavePrefix("False/KubeconfigMissing"), ContainSubstring("Secret "+name+` has no key "value"`)))

	for what, kubeconfig := range map[string]string{
		"is not a usable kubeconfig": "not: [a kubeconfig",
		"runs a program for its credentials (exec)": `{"apiVersion":"v1","kind":"Config","current-context":"x",
			"contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}],"clusters":[{"name":"c","cluster":{"server":"https://192.0.2.1"}}],
			"users":[{"name":"u","user":{"exec":{"apiVersion":"client.authentication.k8s.io/v1","command":"true","interactiveMode":"Never"}}}]}`,
	} {
		s.put(secret, []byte(kubeconfig))
		s.Eventually(connected).Should(And(HavePrefix("False/KubeconfigMalformed"), ContainSubstring(`key "value" of Secret `+name+" "+what)))
	}

	kubeconfig, err := work.AddUser("fairlead-operator")
	s.Expect(err).NotTo(HaveOccurred())
	s.put(secret, kubeconfig)
	s.Eventually(connected).Should(HavePrefix("True/Connected"))
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReleased)).Should(HavePrefix("True/"))
	s.Expect(s.condition("alpha", v1alpha1.ConditionStalled)()).To(BeEmpty())

	t.Run("taken away while connected", func(t *testing.T) {
		s.Expect(hub.Client.Delete(s.ctx, secret)).To(Succeed())
		s.Eventually(connected).Should(HavePrefix("False/KubeconfigMissing"))
	})
	t.Run("rotated", func(t *testing.T) {
		rotated, err := work.AddUser("fairlead-operator-2")
		s.Expect(err).NotTo(HaveOccurred())
		s.Expect(hub.Client.Create(s.ctx, fleettest.KubeconfigSecret(s.ns, "alpha", rotated))).To(Succeed())
		s.Eventually(connected).Should(HavePrefix("True/Connected"))
	})
}

func TestAnUnreachableClusterHoldsNoOtherUp(t *testing.T) {
	s := begin(t)
	s.networkStack()
	// Nothing listens there, and nobody answers for the other.
	for name, server := range map[string]string{"bravo": "https://127.0.0.1:1", "charlie": "https://192.0.2.1:6443"} {
		fleettest.CreateCluster(s.ctx, t, hub.Client, s.ns, name, nil, "192.0.2.1", 6443)
		cfg := *work.Config
		cfg.Host = server
		kubeconfig, err := fleettest.Kubeconfig(&cfg)
		s.Expect(err).NotTo(HaveOccurred())
		s.Expect(hub.Client.Create(s.ctx, fleettest.KubeconfigSecret(s.ns, name, kubeconfig))).To(Succeed())
		s.clusterStack(name)
	}
	s.alpha()
	s.clusterStack("alpha")
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReleased)).Should(HavePrefix("True/"))
	for name, server := range map[string]string{"bravo": "https://127.0.0.1:1", "charlie": "https://192.0.2.1:6443"} {
		s.Eventually(s.condition(name, v1alpha1.ConditionConnected)).Should(And(
			HavePrefix("False/Unreachable"), ContainSubstring("Cluster "+s.ns+"/"+name+" at "+server), ContainSubstring("goes on when it answers")))
		s.Expect(s.condition(name, v1alpha1.ConditionReady)()).To(HavePrefix("False/Unreachable"))
	}
	t.Run("an unreachable cluster that is deleted does not block", func(t *testing.T) {
		cs := &v1alpha1.ClusterStack{}
		key := client.ObjectKey{Namespace: s.ns, Name: "bravo"}
		s.Expect(hub.Client.Get(s.ctx, key, cs)).To(Succeed())
		s.Expect(hub.Client.Delete(s.ctx, cs)).To(Succeed())
		s.Eventually(s.condition("bravo", v1alpha1.ConditionUninstalled)).Should(And(
			HavePrefix("False/Unreachable"), ContainSubstring("remove the finalizer fairlead.io/uninstall")))
		s.deleteCluster("bravo")
		s.Eventually(func() error { return hub.Client.Get(s.ctx, key, cs) }).Should(MatchError(ContainSubstring("not found")))
	})
}

func TestAClusterWithoutPodRangesIsTold(t *testing.T) {
	s := begin(t)
	s.networkStack()
	s.alpha()
	s.Eventually(func() error {
		c := s.cluster("alpha")
		c.Spec.ClusterNetwork.Pods.CIDRBlocks = []string{"10.244.0.0"}
		return hub.Client.Update(s.ctx, c)
	}).Should(Succeed())
	s.clusterStack("alpha")
	s.Eventually(s.condition("alpha", v1alpha1.ConditionStalled)).Should(And(
		HavePrefix("True/PodCIDRsInvalid"), ContainSubstring("spec.clusterNetwork.pods.cidrBlocks[0] of Cluster "+s.ns+"/alpha")))
	s.Eventually(func() error {
		c := s.cluster("alpha")
		c.Spec.ClusterNetwork.Pods.CIDRBlocks = []string{"10.244.0.0/16"}
		return hub.Client.Update(s.ctx, c)
	}).Should(Succeed())
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReleased)).Should(HavePrefix("True/"))
}

// put replaces the kubeconfig in a Secret.
func (s *story) put(secret *corev1.Secret, kubeconfig []byte) {
	s.t.Helper()
	s.Eventually(func() error {
		if err := hub.Client.Get(s.ctx, client.ObjectKeyFromObject(secret), secret); err != nil {
			return err
		}
		secret.Data = map[string][]byte{"value": kubeconfig}
		return hub.Client.Update(s.ctx, secret)
	}).Should(Succeed())
}
