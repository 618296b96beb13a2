// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/internal/trust"
)

const (
	// introduceEvery is how often it is looked after whether the callers still know the root.
	introduceEvery = time.Minute
	// fieldOwner owns the bundles in the objects that the callers read.
	fieldOwner = client.FieldOwner("fairlead-operator-hooks")
	webhookOf  = "clusters.fairlead.io"
	upgradesOf = "upgrades.fairlead.io"
)

// Identity is what callers know the server by: a root in a Secret that all replicas share, a
// certificate of each replica's own, and the root's certificate in the objects by which Cluster
// API and the API server find the server. Those objects are the chart's.
type Identity struct {
	Roots *trust.Store
	// Name is that of the ExtensionConfig, and of the webhooks' configurations.
	Name string
	// Namespace is the operator's.
	Namespace string
	// Hosts are the names and addresses that callers use.
	Hosts  []string
	Writer client.Client
	Reader client.Reader
	Now    func() time.Time
	Log    *slog.Logger

	mu      sync.Mutex
	root    *trust.Root
	serving *tls.Certificate
	told    map[string]bool
}

// NeedLeaderElection lets every replica have its certificate.
func (i *Identity) NeedLeaderElection() bool { return false }

// Start keeps the root known until ctx ends.
func (i *Identity) Start(ctx context.Context) error {
	for {
		if err := i.introduce(ctx); err != nil && ctx.Err() == nil {
			i.Log.Error("Cluster API cannot be told how to verify the operator; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(introduceEvery):
		}
	}
}

// introduce reads the root, and writes its certificates to where callers look.
func (i *Identity) introduce(ctx context.Context) error {
	root, err := i.Roots.Operator(ctx, i.Namespace)
	if err != nil {
		return err
	}
	bundle := trust.EncodeBundle(root.Bundle...)
	err = errors.Join(i.tell(ctx, extensionConfig(i.Name, bundle)),
		i.tell(ctx, webhookConfiguration("MutatingWebhookConfiguration", i.Name, webhookOf, bundle)),
		i.tell(ctx, webhookConfiguration("ValidatingWebhookConfiguration", i.Name, upgradesOf, bundle)))
	i.mu.Lock()
	defer i.mu.Unlock()
	// A new root is served by once callers know it.
	if i.root == nil || (err == nil && !i.root.Authority.Certificate.Equal(root.Authority.Certificate)) {
		i.root, i.serving = root, nil
	}
	return err
}

// tell writes the bundle into an object that is there.
func (i *Identity) tell(ctx context.Context, u *unstructured.Unstructured) error {
	there := &metav1.PartialObjectMetadata{}
	there.SetGroupVersionKind(u.GroupVersionKind())
	err := i.Reader.Get(ctx, client.ObjectKey{Name: i.Name}, there)
	if meta.IsNoMatchError(err) || client.IgnoreNotFound(err) == nil && err != nil {
		if !i.told[u.GetKind()] {
			i.Log.Info("There is no "+u.GetKind()+" of this operator; who would ask by it does not ask", "name", i.Name)
			i.note(u.GetKind(), true)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %s %s: %w", u.GetKind(), i.Name, err)
	}
	i.note(u.GetKind(), false)
	if err := i.Writer.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("writing the CA bundle of %s %s: %w", u.GetKind(), i.Name, err)
	}
	return nil
}

func (i *Identity) note(kind string, absent bool) {
	if i.told == nil {
		i.told = map[string]bool{}
	}
	i.told[kind] = absent
}

// Certificate is this replica's certificate, renewed when it is due.
func (i *Identity) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.root == nil {
		return nil, errors.New("there is no root yet: the management cluster's Secrets could not be read")
	}
	if i.serving == nil || trust.ServingDue(i.serving, i.Now()) {
		fresh, err := i.root.Authority.Serving(i.Hosts, i.Now())
		if err != nil {
			return nil, err
		}
		i.serving = fresh
	}
	return i.serving, nil
}

// Ready says why the server cannot answer yet, nil when it can.
func (i *Identity) Ready() error {
	_, err := i.Certificate(nil)
	return err
}

func extensionConfig(name string, bundle []byte) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"clientConfig": map[string]any{"caBundle": base64.StdEncoding.EncodeToString(bundle)}}}}
	u.SetAPIVersion("runtime.cluster.x-k8s.io/v1beta2")
	u.SetKind("ExtensionConfig")
	u.SetName(name)
	return u
}

func webhookConfiguration(kind, name, webhook string, bundle []byte) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"webhooks": []any{map[string]any{
		"name": webhook, "clientConfig": map[string]any{"caBundle": base64.StdEncoding.EncodeToString(bundle)},
	}}}}
	u.SetAPIVersion("admissionregistration.k8s.io/v1")
	u.SetKind(kind)
	u.SetName(name)
	return u
}
