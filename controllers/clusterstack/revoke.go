// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/trust"
	"github.com/fairlead-io/fairlead/internal/trust/revocation"
)

// revoke lists every CA that the cluster was given, when a person asks for it. It comes
// before the cluster is asked anything: one that does not answer is revoked as well.
func (r *Reconciler) revoke(ctx context.Context, s *scope) error {
	if s.cs.Annotations[v1alpha1.TrustRevokedAnnotation] != "true" {
		return nil
	}
	s.revoked = true
	err := r.list(ctx, s, s.booked()...)
	if apierrors.IsNotFound(err) && !s.cs.DeletionTimestamp.IsZero() {
		return nil // the root went with its NetworkStack, and the trust in everything it signed
	}
	if err != nil {
		return s.fail(v1alpha1.ConditionTrusted, v1alpha1.ReasonError, err)
	}
	s.set(v1alpha1.ConditionTrusted, false, v1alpha1.ReasonTrustRevoked, fmt.Sprintf(
		"annotation %s=true: the clusters of NetworkStack %s accept no CA of this one, and its own agents and controllers do not accept one another (nodes forward with the state that they have); remove the annotation from ClusterStack %s/%s to take the cluster back with a new CA",
		v1alpha1.TrustRevokedAnnotation, s.cs.Spec.NetworkStack, s.cs.Namespace, s.cs.Name))
	return nil
}

// list puts CAs on the list that is kept with the root, and has every cluster of the
// stack told when that changes it.
func (r *Reconciler) list(ctx context.Context, s *scope, entries ...revocation.Entry) error {
	owner, err := r.owner(ctx, s)
	if err != nil {
		return err
	}
	root, changed, err := r.Roots.Revoke(ctx, owner, entries...)
	if err != nil {
		return err
	}
	s.root = root
	if !changed {
		return nil
	}
	ctrl.LoggerFrom(ctx).Info("The cluster's CAs were revoked", "listed", root.Revoked.Len())
	select {
	case r.listed <- event.GenericEvent{Object: owner}:
	case <-ctx.Done():
	}
	return nil
}

// clustersOf are the clusters of a NetworkStack.
func (r *Reconciler) clustersOf(ctx context.Context, stack client.Object) []reconcile.Request {
	var all v1alpha1.ClusterStackList
	if err := r.Client.List(ctx, &all, client.InNamespace(stack.GetNamespace())); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing the clusters that are to be told who was revoked")
		return nil
	}
	var out []reconcile.Request
	for i := range all.Items {
		if all.Items[i].Spec.NetworkStack == stack.GetName() {
			out = append(out, requestFor(client.ObjectKeyFromObject(&all.Items[i]))...)
		}
	}
	return out
}

// tellRevoked brings the list to the cluster before anything else is done there, also to
// one that is not to be changed now. For one that was revoked itself nothing else is done.
func (r *Reconciler) tellRevoked(ctx context.Context, s *scope) error {
	if err := r.bringList(ctx, s); err != nil {
		return s.fail(v1alpha1.ConditionTrusted, v1alpha1.ReasonError, err)
	}
	if s.revoked {
		return s.person(v1alpha1.ConditionTrusted)
	}
	return nil
}

func (r *Reconciler) bringList(ctx context.Context, s *scope) (err error) {
	if s.blank {
		return nil // it trusts nobody yet
	}
	if s.root == nil {
		if s.root, err = r.Roots.Find(ctx, client.ObjectKey{Namespace: s.cs.Namespace, Name: s.cs.Spec.NetworkStack}); s.root == nil {
			return err
		}
	}
	for _, reader := range []client.Reader{s.conn.Cached, s.conn.Live} {
		held, err := s.heldTrust(ctx, reader)
		if err != nil {
			return err
		}
		if err := r.revokeHeld(ctx, s, held); err != nil {
			return err
		}
		list := trust.Spread(s.root, held, r.Now())
		same := len(held.Bundle) == 0 || bytes.Equal(held.Revoked, list)
		if same && !s.revoked {
			return nil
		}
		if !same && reader == client.Reader(s.conn.Live) {
			ctrl.LoggerFrom(ctx).Info("Telling the cluster who was revoked", "listed", s.root.Revoked.Len())
			return applyBundle(ctx, s, held.Bundle, list)
		}
	}
	return nil
}

// revokeHeld lists also what a revoked cluster holds without its being written down.
func (r *Reconciler) revokeHeld(ctx context.Context, s *scope, held trust.Held) error {
	if !s.revoked {
		return nil
	}
	ca, err := trust.ParseAuthority(held.CA)
	if err != nil {
		return nil // it is none
	}
	if _, err := s.book(ca.Certificate, r.Now()); err != nil {
		return err
	}
	return r.list(ctx, s, s.booked()...)
}

// stillRevoked says why a cluster that is taken back has no new CA yet.
func (s *scope) stillRevoked() {
	c := meta.FindStatusCondition(s.cs.Status.Conditions, v1alpha1.ConditionTrusted)
	if c != nil && c.Reason == v1alpha1.ReasonTrustRevoked {
		s.set(v1alpha1.ConditionTrusted, false, v1alpha1.ReasonTrustRevoked, "the cluster is taken back and gets a new CA as soon as it may be changed: "+s.held)
	}
}

// booked are the CAs that are written down, as entries of a list.
func (s *scope) booked() []revocation.Entry {
	var out []revocation.Entry
	for _, i := range s.cs.Status.Trust.Intermediates {
		if f, err := revocation.ParseFingerprint(i.Fingerprint); err == nil {
			out = append(out, revocation.Entry{Fingerprint: f, NotAfter: i.NotAfter.UTC(), Cluster: s.identity()})
		}
	}
	return out
}

// book writes a CA down, and strikes out those that have ended and, once the cluster is
// not revoked any more, those that are listed. It says whether the CA is new.
func (s *scope) book(ca *x509.Certificate, now time.Time) (fresh bool, err error) {
	t := &s.cs.Status.Trust
	kept := slices.DeleteFunc(slices.Clone(t.Intermediates), func(i v1alpha1.IssuedCA) bool {
		f, err := revocation.ParseFingerprint(i.Fingerprint)
		return err != nil || now.After(i.NotAfter.Time) || (!s.revoked && s.root.Revoked.Holds(f))
	})
	name := revocation.Of(ca).String()
	fresh = !slices.ContainsFunc(kept, func(i v1alpha1.IssuedCA) bool { return i.Fingerprint == name })
	if fresh {
		if len(kept) >= v1alpha1.MaxIntermediates {
			return false, fmt.Errorf("the cluster was given %d CAs that are still valid, and gets no more: find out who removes or changes Secret %s/%s there, then revoke the cluster by annotation %s=true and take it back by removing that",
				len(kept), Namespace, caSecretName, v1alpha1.TrustRevokedAnnotation)
		}
		kept = append(kept, v1alpha1.IssuedCA{Fingerprint: name, NotAfter: metav1.NewTime(ca.NotAfter)})
	}
	t.Intermediates = kept
	return fresh, nil
}

// bookRoot writes down since when the cluster has the newest root.
func (s *scope) bookRoot(next *trust.Cluster) {
	t := &s.cs.Status.Trust
	if name := next.Root.String(); t.Root != name || t.RootSince == nil || !t.RootSince.Equal(&metav1.Time{Time: next.RootSince}) {
		since := metav1.NewTime(next.RootSince.Truncate(time.Second))
		t.Root, t.RootSince = name, &since
	}
}

// keepBook stores what was written down, at once and nothing else of the status.
func (r *Reconciler) keepBook(ctx context.Context, s *scope) error {
	old, now := s.cs.DeepCopy(), s.cs.DeepCopy()
	old.Status, now.Status = s.stored, s.stored
	now.Status.Trust = s.cs.Status.Trust
	if err := r.Client.Status().Patch(ctx, now, client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("writing down the cluster's CA: %w", err)
	}
	s.cs.ResourceVersion = now.ResourceVersion
	return nil
}
