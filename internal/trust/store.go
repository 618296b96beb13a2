// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// Store keeps the roots on the management cluster.
type Store struct {
	// Reader must read live, not from a cache: a root must never be made twice.
	Reader client.Reader
	Writer client.Client
	// Now is the clock.
	Now func() time.Time
}

// RootSecretName is the name of the Secret that holds a NetworkStack's root.
func RootSecretName(stack string) string { return stack + "-fairlead-root" }

// operatorSecretName is the name of the Secret that holds the root of an operator's own server.
const operatorSecretName = "fairlead-operator-root"

// Root returns the root of a NetworkStack, made or replaced when that is due. Its
// Secret belongs to the NetworkStack and goes with it.
func (s *Store) Root(ctx context.Context, owner *v1alpha1.NetworkStack) (*Root, error) {
	return s.root(ctx, client.ObjectKey{Namespace: owner.Namespace, Name: RootSecretName(owner.Name)}, owner.Namespace+"/"+owner.Name, owner)
}

// Operator returns the root of what the operator in a namespace serves itself, which its
// replicas share.
func (s *Store) Operator(ctx context.Context, namespace string) (*Root, error) {
	return s.root(ctx, client.ObjectKey{Namespace: namespace, Name: operatorSecretName}, "the operator in "+namespace, nil)
}

// Find returns the root of a NetworkStack as it is, nil when there is none yet.
func (s *Store) Find(ctx context.Context, owner client.ObjectKey) (*Root, error) {
	_, root, err := s.read(ctx, client.ObjectKey{Namespace: owner.Namespace, Name: RootSecretName(owner.Name)}, owner.String())
	return root, err
}

// read returns a Secret and the root in it, nil when there is none.
func (s *Store) read(ctx context.Context, key client.ObjectKey, of string) (*corev1.Secret, *Root, error) {
	secret := &corev1.Secret{}
	if err := s.Reader.Get(ctx, key, secret); apierrors.IsNotFound(err) {
		return secret, nil, nil
	} else if err != nil {
		return nil, nil, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	root, err := ParseRoot(secret.Data)
	if err != nil {
		return nil, nil, fmt.Errorf("the root of %s in Secret %s cannot be used: %w: restore the Secret from a backup, or delete it to have a new root made (clusters then get new CAs)", of, key, err)
	}
	return secret, root, nil
}

// root returns the root in a Secret, made or replaced when that is due. owner may be nil.
func (s *Store) root(ctx context.Context, key client.ObjectKey, of string, owner *v1alpha1.NetworkStack) (*Root, error) {
	secret, current, err := s.read(ctx, key, of)
	if err != nil {
		return nil, err
	}
	next, err := NextRoot(of, current, s.Now())
	if err != nil {
		return nil, err
	}
	if next == current {
		return current, nil
	}
	err = s.write(ctx, owner, secret, key, next, current == nil)
	if apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) {
		return s.root(ctx, key, of, owner) // somebody else was faster: that root is the one
	}
	return next, err
}

// write stores a new root. Two writers cannot both succeed: the second create
// finds the name taken, the second update another resourceVersion.
func (s *Store) write(ctx context.Context, owner *v1alpha1.NetworkStack, secret *corev1.Secret, key client.ObjectKey, root *Root, create bool) error {
	data, err := root.Data()
	if err != nil {
		return err
	}
	secret.Data = data
	if !create {
		return s.Writer.Update(ctx, secret)
	}
	secret.ObjectMeta = metav1.ObjectMeta{
		Namespace: key.Namespace, Name: key.Name,
		Labels: map[string]string{
			"app.kubernetes.io/name":       "fairlead",
			"app.kubernetes.io/component":  "operator",
			"app.kubernetes.io/managed-by": "fairlead-operator",
		},
	}
	secret.Type = corev1.SecretTypeTLS
	if owner != nil {
		if err := controllerutil.SetControllerReference(owner, secret, s.Writer.Scheme()); err != nil {
			return err
		}
	}
	return s.Writer.Create(ctx, secret)
}
