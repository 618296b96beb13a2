// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
)

// token makes an administrator's ServiceAccount and returns a kubeconfig with a
// token of it. The token ends with the ServiceAccount.
func (s *story) token(name string) (*corev1.ServiceAccount, []byte) {
	s.t.Helper()
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name}}
	s.Expect(work.Client.Create(s.ctx, sa)).To(Succeed())
	s.t.Cleanup(func() { _ = work.Client.Delete(s.t.Context(), sa) })
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "kube-system", Name: name}},
	}
	s.Expect(work.Client.Create(s.ctx, binding)).To(Succeed())
	req := &authenticationv1.TokenRequest{}
	s.Expect(work.Client.SubResource("token").Create(s.ctx, sa, req)).To(Succeed())
	kubeconfig, err := fleettest.Kubeconfig(&rest.Config{Host: work.Config.Host, TLSClientConfig: rest.TLSClientConfig{CAData: work.Config.CAData}, BearerToken: req.Status.Token})
	s.Expect(err).NotTo(HaveOccurred())
	return sa, kubeconfig
}

func TestAKubeconfigThatIsRevokedAndReplaced(t *testing.T) {
	s := begin(t)
	s.SetDefaultEventuallyTimeout(60 * time.Second)
	s.networkStack()
	host, port := work.Endpoint()
	fleettest.CreateCluster(s.ctx, t, hub.Client, s.ns, "alpha", nil, host, port)
	first, kubeconfig := s.token("operator-first")
	secret := fleettest.KubeconfigSecret(s.ns, "alpha", kubeconfig)
	s.Expect(hub.Client.Create(s.ctx, secret)).To(Succeed())
	s.clusterStack("alpha")
	connected := s.condition("alpha", v1alpha1.ConditionConnected)
	s.Eventually(s.condition("alpha", v1alpha1.ConditionReleased)).Should(HavePrefix("True/"))

	s.Expect(work.Client.Delete(s.ctx, first)).To(Succeed())
	s.Eventually(connected).Should(And(HavePrefix("False/"), ContainSubstring(`key "value" of Secret `+s.ns+"/alpha-kubeconfig")))

	_, replaced := s.token("operator-second")
	s.put(secret, replaced)
	s.Eventually(connected).Should(HavePrefix("True/Connected"))
}
