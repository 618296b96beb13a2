// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/release"
	"github.com/fairlead-io/fairlead/internal/trust"
	"github.com/fairlead-io/fairlead/internal/trust/revocation"
)

// ourLabels are the labels of every object that the operator itself applies.
func ourLabels() map[string]string {
	return map[string]string{
		"app.kubernetes.io/name":       "fairlead",
		"app.kubernetes.io/component":  "operator",
		"app.kubernetes.io/managed-by": "fairlead-operator",
	}
}

// applyTrust gives the cluster its namespace, its CA and the root bundle.
func (r *Reconciler) applyTrust(ctx context.Context, s *scope) error {
	if s.held != "" {
		s.stillRevoked()
		return nil
	}
	if err := r.applyNamespace(ctx, s); err != nil {
		return err
	}
	owner, err := r.owner(ctx, s)
	if err != nil {
		return s.fail(v1alpha1.ConditionTrusted, v1alpha1.ReasonError, err)
	}
	now := r.Now()
	if s.root == nil || !now.Before(s.root.RenewAt()) {
		if s.root, err = r.Roots.Root(ctx, owner); err != nil {
			return s.fail(v1alpha1.ConditionTrusted, v1alpha1.ReasonError, err)
		}
	}
	next, err := r.bringTrust(ctx, s, now)
	if err != nil {
		return s.fail(v1alpha1.ConditionTrusted, v1alpha1.ReasonError, err)
	}
	s.lookAgain(next.RenewAt.Sub(now))
	s.lookAgain(s.root.RenewAt().Sub(now))
	what := "the CA is renewed on " + next.RenewAt.UTC().Format(time.DateOnly)
	if next.Moving {
		what = "a new root is in the bundle, and the CA moves to it at " + next.RenewAt.UTC().Format(time.RFC3339) + ", when all nodes have it"
	}
	s.set(v1alpha1.ConditionTrusted, true, v1alpha1.ReasonTrustApplied, fmt.Sprintf(
		"Secret %s/%s and ConfigMap %s/%s are in the cluster; %s", Namespace, caSecretName, Namespace, trustConfigMapName, what))
	return nil
}

// owner is the NetworkStack that holds the cluster.
func (r *Reconciler) owner(ctx context.Context, s *scope) (*v1alpha1.NetworkStack, error) {
	owner := &v1alpha1.NetworkStack{}
	key := client.ObjectKey{Namespace: s.cs.Namespace, Name: s.cs.Spec.NetworkStack}
	if err := r.Client.Get(ctx, key, owner); err != nil {
		return nil, fmt.Errorf("reading NetworkStack %s, which holds this cluster: %w", key, err)
	}
	return owner, nil
}

// bringTrust decides what the cluster shall hold and applies what differs. The
// cache may be behind the last write, and a CA must not be made twice: before
// anything changes, what the cluster holds is read live.
func (r *Reconciler) bringTrust(ctx context.Context, s *scope, now time.Time) (*trust.Cluster, error) {
	for _, reader := range []client.Reader{s.conn.Cached, s.conn.Live} {
		held, err := s.heldTrust(ctx, reader)
		if err != nil {
			return nil, err
		}
		next, err := trust.Next(s.identity(), s.root, held, now)
		if err != nil {
			return nil, err
		}
		if maps.EqualFunc(held.CA, next.CA, bytes.Equal) && bytes.Equal(held.Bundle, next.Bundle) && bytes.Equal(held.Revoked, next.Revoked) {
			_, err = s.book(next.Intermediate, now)
			s.bookRoot(next)
			return next, err
		}
		if reader == client.Reader(s.conn.Live) {
			return next, r.writeTrust(ctx, s, next, now)
		}
	}
	return nil, errors.New("the cluster's trust was not read live")
}

// heldTrust returns what the cluster holds.
func (s *scope) heldTrust(ctx context.Context, reader client.Reader) (trust.Held, error) {
	held := trust.Held{}
	secret := &corev1.Secret{}
	if err := reader.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: caSecretName}, secret); client.IgnoreNotFound(err) != nil {
		return held, fmt.Errorf("reading Secret %s/%s of the cluster: %w", Namespace, caSecretName, err)
	}
	cm := &corev1.ConfigMap{}
	if err := reader.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: trustConfigMapName}, cm); client.IgnoreNotFound(err) != nil {
		return held, fmt.Errorf("reading ConfigMap %s/%s of the cluster: %w", Namespace, trustConfigMapName, err)
	}
	held.CA, held.Bundle, held.Revoked = secret.Data, []byte(cm.Data[trust.KeyBundle]), []byte(cm.Data[revocation.Key])
	if since := s.cs.Status.Trust.RootSince; since != nil {
		if root, err := revocation.ParseFingerprint(s.cs.Status.Trust.Root); err == nil {
			held.Root, held.RootSince = root, since.Time
		}
	}
	return held, nil
}

// writeTrust applies the bundle and then the CA: who meets a certificate of a new
// CA must find its root there. Applying what is there already changes nothing. A CA is
// written down before the cluster gets it.
func (r *Reconciler) writeTrust(ctx context.Context, s *scope, next *trust.Cluster, now time.Time) error {
	fresh, err := s.book(next.Intermediate, now)
	if err != nil {
		return err
	}
	if fresh {
		if err := r.keepBook(ctx, s); err != nil {
			return err
		}
	}
	ctrl.LoggerFrom(ctx).Info("Applying the cluster's CA and root bundle", "renewAt", next.RenewAt.UTC(), "moving", next.Moving)
	if err := applyBundle(ctx, s, next.Bundle, next.Revoked); err != nil {
		return err
	}
	err = apply(ctx, s, &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: caSecretName, Labels: ourLabels()},
		Type:       corev1.SecretTypeTLS,
		Data:       next.CA,
	})
	if err == nil {
		s.bookRoot(next)
	}
	return err
}

// applyBundle applies the ConfigMap that everyone in the cluster may read.
func applyBundle(ctx context.Context, s *scope, bundle, revoked []byte) error {
	data := map[string]string{trust.KeyBundle: string(bundle)}
	if len(revoked) > 0 {
		data[revocation.Key] = string(revoked)
	}
	return apply(ctx, s, &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: trustConfigMapName, Labels: ourLabels()},
		Data:       data,
	})
}

// applyNamespace applies our namespace. Agents need the host, so it allows
// privileged pods.
func (r *Reconciler) applyNamespace(ctx context.Context, s *scope) error {
	want := ourLabels()
	want["pod-security.kubernetes.io/enforce"] = "privileged"
	ns := &corev1.Namespace{}
	err := s.conn.Cached.Get(ctx, client.ObjectKey{Name: Namespace}, ns)
	if err != nil && !apierrors.IsNotFound(err) {
		return s.fail(v1alpha1.ConditionTrusted, v1alpha1.ReasonError, fmt.Errorf("reading namespace %s of the cluster: %w", Namespace, err))
	}
	if err == nil && !ns.DeletionTimestamp.IsZero() {
		return s.stop(v1alpha1.ConditionTrusted, v1alpha1.ReasonWaiting, fmt.Sprintf(
			"namespace %s of the cluster is being deleted; Fairlead goes on when it is gone", Namespace))
	}
	same := err == nil && ns.Annotations[clusterAnnotation] == s.identity()
	for k, v := range want {
		same = same && ns.Labels[k] == v
	}
	if same {
		return nil
	}
	err = apply(ctx, s, &corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: Namespace, Labels: want, Annotations: map[string]string{clusterAnnotation: s.identity()}},
	})
	return s.fail(v1alpha1.ConditionTrusted, v1alpha1.ReasonError, err)
}

// apply applies one object in the cluster.
func apply(ctx context.Context, s *scope, o client.Object) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: content}
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	for _, field := range []string{"status", "spec"} {
		if m, ok, _ := unstructured.NestedMap(u.Object, field); ok && len(m) == 0 {
			unstructured.RemoveNestedField(u.Object, field)
		}
	}
	if err := s.conn.Live.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), release.FieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("applying %s %s of the cluster: %w", u.GetKind(), client.ObjectKeyFromObject(u), err)
	}
	return nil
}
