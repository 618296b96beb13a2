// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/trust/revocation"
)

// Spread returns the text of the list that a cluster shall hold: that of the root, and,
// while the cluster trusts a root that is of no concern to this one, what it holds.
func Spread(root *Root, held Held, now time.Time) []byte {
	former, _ := ParseBundle(held.CA[KeyBundle])
	return spread(root, former, held.Revoked, now).Encode()
}

func spread(root *Root, former []*x509.Certificate, held []byte, now time.Time) revocation.List {
	foreign := slices.ContainsFunc(former, func(c *x509.Certificate) bool {
		return c.NotAfter.After(now) && !slices.ContainsFunc(root.Bundle, c.Equal)
	})
	if !foreign {
		return root.Revoked
	}
	of, err := revocation.Parse(held)
	if err != nil {
		return root.Revoked
	}
	both, err := root.Revoked.With(now, of.Entries()...)
	if err != nil {
		return root.Revoked
	}
	return both
}

// Revoke adds CAs to the list that is kept with the root of a NetworkStack, and returns
// the root. changed says that some were not listed before.
func (s *Store) Revoke(ctx context.Context, owner *v1alpha1.NetworkStack, entries ...revocation.Entry) (root *Root, changed bool, err error) {
	if root, err = s.Root(ctx, owner); err != nil {
		return nil, false, err
	}
	for {
		entries = slices.DeleteFunc(slices.Clone(entries), func(e revocation.Entry) bool { return root.Revoked.Holds(e.Fingerprint) })
		if len(entries) == 0 {
			return root, changed, nil
		}
		key := client.ObjectKey{Namespace: owner.Namespace, Name: RootSecretName(owner.Name)}
		secret, current, err := s.read(ctx, key, owner.Namespace+"/"+owner.Name)
		if err != nil {
			return nil, false, err
		}
		if current == nil {
			return nil, false, fmt.Errorf("the root in Secret %s was deleted while a cluster was being revoked; it is made again at the next attempt", key)
		}
		next := *current
		if next.Revoked, err = current.Revoked.With(s.Now(), entries...); err != nil {
			return nil, false, fmt.Errorf("key %s of Secret %s: %w", revocation.Key, key, err)
		}
		err = s.write(ctx, owner, secret, key, &next, false)
		switch {
		case err == nil:
			return &next, true, nil
		case !apierrors.IsConflict(err):
			return nil, false, fmt.Errorf("writing Secret %s: %w", key, err)
		}
		root = current // somebody else was faster: on with what they wrote
	}
}
