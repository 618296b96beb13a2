// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/trust/revocation"
)

func TestStore(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c := fake.NewClientBuilder().WithScheme(scheme).Build()
	now := start
	store := &Store{Reader: c, Writer: c, Now: func() time.Time { return now }}
	owner := &v1alpha1.NetworkStack{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "lab", UID: "u"}}
	root := func() *Root {
		t.Helper()
		r, err := store.Root(t.Context(), owner)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}

	first := root()
	if !root().Authority.Certificate.Equal(first.Authority.Certificate) {
		t.Error("a root was made twice")
	}
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: "ns", Name: "lab-fairlead-root"}
	if err := c.Get(t.Context(), key, secret); err != nil {
		t.Fatal(err)
	}
	if !metav1.IsControlledBy(secret, owner) || secret.Type != corev1.SecretTypeTLS {
		t.Errorf("got %v of type %s", secret.OwnerReferences, secret.Type)
	}
	if _, ok := secret.Labels["cluster.x-k8s.io/cluster-name"]; ok {
		t.Error("the root would be cached as if it were a kubeconfig")
	}

	now = first.RenewAt()
	second := root()
	if second.Authority.Certificate.Equal(first.Authority.Certificate) || len(second.Bundle) != 2 {
		t.Errorf("the root was not replaced: %v with %d roots", second.Authority, len(second.Bundle))
	}

	gone := next(t, second, nil, now)
	entry := revocation.Entry{Fingerprint: revocation.Of(gone.Intermediate), NotAfter: gone.Intermediate.NotAfter, Cluster: "ns/alpha"}
	for _, first := range []bool{true, false} {
		r, changed, err := store.Revoke(t.Context(), owner, entry)
		if err != nil || changed != first || !r.Revoked.Holds(entry.Fingerprint) {
			t.Errorf("got %+v, changed: %v, %v", r, changed, err)
		}
	}
	found, err := store.Find(t.Context(), client.ObjectKeyFromObject(owner))
	if err != nil || !found.Revoked.Holds(entry.Fingerprint) || !found.Authority.Certificate.Equal(second.Authority.Certificate) || len(found.Bundle) != 2 {
		t.Errorf("got %+v, %v", found, err)
	}
	if none, err := store.Find(t.Context(), client.ObjectKey{Namespace: "ns", Name: "none"}); none != nil || err != nil {
		t.Errorf("got %+v, %v", none, err)
	}

	if err := c.Get(t.Context(), key, secret); err != nil {
		t.Fatal(err)
	}
	secret.Data[KeyPrivateKey] = []byte("s3cret")
	if err := c.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	_, err = store.Root(t.Context(), owner)
	if err == nil || !strings.Contains(err.Error(), "Secret ns/lab-fairlead-root") || !strings.Contains(err.Error(), "key tls.key") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
}
