// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
)

func TestServerOf(t *testing.T) {
	usable, err := fleettest.Kubeconfig(&rest.Config{Host: "https://192.0.2.1:6443", BearerToken: "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, in, server, fault string }{
		{"usable", string(usable), "https://192.0.2.1:6443", ""},
		{"not YAML", "{[", "", "not a usable kubeconfig"},
		{"no current context", strings.Replace(string(usable), "current-context: x", "current-context: y", 1), "", "not a usable kubeconfig"},
		{"a server that is no URL", strings.Replace(string(usable), "https://192.0.2.1:6443", "https://", 1), "", "not the URL"},
		{"a password in the URL", strings.Replace(string(usable), "https://", "https://u:p@", 1), "", "not the URL"},
		{"a token in a file", strings.Replace(string(usable), "token: s3cret", "tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token", 1), "", "names files"},
		{"another document", "kind: Secret\napiVersion: v1\n", "", "not a usable kubeconfig"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, fault := serverOf([]byte(c.in))
			if server != c.server || (c.fault == "") != (fault == "") || !strings.Contains(fault, c.fault) {
				t.Errorf("got %q, %q; want %q, %q", server, fault, c.server, c.fault)
			}
			if strings.Contains(fault, "s3cret") {
				t.Errorf("the fault %q holds a credential", fault)
			}
		})
	}
}

func FuzzServerOf(f *testing.F) {
	usable, err := fleettest.Kubeconfig(&rest.Config{Host: "https://192.0.2.1:6443", BearerToken: "s3cret"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(usable)
	f.Add([]byte("current-context: x"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		server, fault := serverOf(raw)
		if (server == "") == (fault == "") {
			t.Errorf("neither a server nor a fault, or both: %q, %q", server, fault)
		}
	})
}

func TestOnlyKubeconfigsAreKept(t *testing.T) {
	kubeconfig := fleettest.KubeconfigSecret("ns", "alpha", []byte("k"))
	ca := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "alpha-ca", Labels: kubeconfig.Labels},
		Data:       map[string][]byte{"tls.key": []byte("s3cret")},
	}
	for _, s := range []*corev1.Secret{kubeconfig, ca} {
		if _, err := onlyKubeconfigs(s); err != nil {
			t.Fatal(err)
		}
	}
	if string(kubeconfig.Data["value"]) != "k" {
		t.Error("the kubeconfig was emptied")
	}
	if len(ca.Data) != 0 {
		t.Error("a Secret that is no kubeconfig keeps its data in the cache")
	}
	if key, ok := IsKubeconfig(kubeconfig); !ok || key.String() != "ns/alpha" {
		t.Errorf("got %v, %v", key, ok)
	}
}
