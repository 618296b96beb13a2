// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-io/fairlead/internal/trust/revocation"
)

// Settle is how long a new root is in a cluster's bundle before anything is signed by it.
// Kubelets bring a changed bundle to the pods each in its own time, a minute or two: who
// moved to the new root at once would meet peers that have not heard of it.
const Settle = 15 * time.Minute

// lastCall is how long before its end a CA is renewed in any case.
const lastCall = 48 * time.Hour

// Root is what a NetworkStack's root Secret holds.
type Root struct {
	Authority *Authority
	// Bundle is the root in use and those that it replaced and that are still valid.
	Bundle []*x509.Certificate
	// Revoked are the clusters' CAs that nobody accepts any more.
	Revoked revocation.List
}

// ParseRoot reads the Data of a root Secret.
func ParseRoot(data map[string][]byte) (*Root, error) {
	a, err := ParseAuthority(data)
	if err != nil {
		return nil, err
	}
	bundle, err := ParseBundle(data[KeyBundle])
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", KeyBundle, err)
	}
	revoked, err := revocation.Parse(data[revocation.Key])
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", revocation.Key, err)
	}
	return &Root{Authority: a, Bundle: bundle, Revoked: revoked}, nil
}

// Data returns the root as its Secret holds it.
func (r *Root) Data() (map[string][]byte, error) {
	data, err := r.Authority.Data()
	if err != nil {
		return nil, err
	}
	data[KeyBundle] = EncodeBundle(r.Bundle...)
	if r.Revoked.Len() > 0 {
		data[revocation.Key] = r.Revoked.Encode()
	}
	return data, nil
}

// RenewAt is the time at which the root is to be replaced.
func (r *Root) RenewAt() time.Time { return r.Authority.Certificate.NotAfter.Add(-rootRenewBefore) }

// NextRoot returns the root that a stack shall use at now: current itself while it
// is fresh, otherwise a new one whose bundle keeps current. current may be nil.
func NextRoot(stack string, current *Root, now time.Time) (*Root, error) {
	if current != nil && now.Before(current.RenewAt()) {
		return current, nil
	}
	a, err := NewRoot(stack, now)
	if err != nil {
		return nil, err
	}
	next := &Root{Authority: a}
	var others []*x509.Certificate
	if current != nil {
		others = current.Bundle
		if next.Revoked, err = current.Revoked.With(now); err != nil {
			return nil, err
		}
	}
	next.Bundle = mergeRoots(now, a.Certificate, others...)
	return next, nil
}

// Held is what a cluster holds.
type Held struct {
	// CA is the Data of its CA Secret; nil when there is none.
	CA map[string][]byte
	// Bundle and Revoked are what its ConfigMap holds, empty when there is none.
	Bundle, Revoked []byte
	// Root is the newest root that the bundle was written with, and RootSince when that
	// was; the zero time when it is not known.
	Root      revocation.Fingerprint
	RootSince time.Time
}

// Cluster is what a cluster shall hold.
type Cluster struct {
	// CA is the Data of the cluster's CA Secret: certificate, key and root bundle.
	CA map[string][]byte
	// Intermediate is the CA's certificate.
	Intermediate *x509.Certificate
	// Bundle is the root bundle that everyone in the cluster may read, PEM. Revoked is the
	// list of revoked CAs, nil for none.
	Bundle, Revoked []byte
	// Root is the root in use, and RootSince when the cluster's bundle got it.
	Root      revocation.Fingerprint
	RootSince time.Time
	// RenewAt is the time at which the cluster's CA is to be looked at again: to be
	// renewed, or moved to the root in use.
	RenewAt time.Time
	// Moving says that the cluster's CA is of a former root until RenewAt.
	Moving bool
}

// Next returns what a cluster shall hold at now. It keeps the intermediate while it is
// fresh, not revoked and signed by the root in use, or by a former root while that in use
// has not settled; a new one is made otherwise. Roots that the cluster trusted until now
// stay in its bundle until they end, so that certificates of the former intermediate go
// on being accepted.
func Next(cluster string, root *Root, held Held, now time.Time) (*Cluster, error) {
	former, _ := ParseBundle(held.CA[KeyBundle]) // what cannot be read is written anew
	roots := mergeRoots(now, root.Authority.Certificate, slices.Concat(root.Bundle, former)...)
	next := &Cluster{
		Bundle:    EncodeBundle(roots...),
		Revoked:   spread(root, former, held.Revoked, now).Encode(),
		Root:      revocation.Of(root.Authority.Certificate),
		RootSince: now,
	}
	if held.Root == next.Root && !held.RootSince.IsZero() && has(held.Bundle, root) && has(held.CA[KeyBundle], root) {
		next.RootSince = held.RootSince
	}
	ca := keep(root, held.CA, now)
	if ca == nil {
		settled := next.RootSince.Add(Settle)
		if ca = keepUntilSettled(root, roots, held.CA, settled, now); ca != nil {
			next.Moving, next.RenewAt = true, settled
		}
	}
	if ca == nil {
		var err error
		if ca, err = root.Authority.NewIntermediate(cluster, now); err != nil {
			return nil, err
		}
	}
	data, err := ca.Data()
	if err != nil {
		return nil, err
	}
	data[KeyBundle] = next.Bundle
	next.CA, next.Intermediate = data, ca.Certificate
	if !next.Moving {
		next.RenewAt = renewAt(ca.Certificate)
	}
	return next, nil
}

// keep returns the intermediate that the cluster holds when it can stay.
func keep(root *Root, current map[string][]byte, now time.Time) *Authority {
	ca := accepted(root, current)
	if ca == nil || !now.Before(renewAt(ca.Certificate)) {
		return nil
	}
	if ca.Certificate.CheckSignatureFrom(root.Authority.Certificate) != nil {
		return nil
	}
	return ca
}

// keepUntilSettled returns the intermediate that the cluster holds when one of the root in
// use would be met by peers that do not have this root yet.
func keepUntilSettled(root *Root, roots []*x509.Certificate, current map[string][]byte, settled, now time.Time) *Authority {
	ca := accepted(root, current)
	if ca == nil || !now.Before(settled) || !now.Before(ca.Certificate.NotAfter.Add(-lastCall)) {
		return nil
	}
	for _, former := range roots {
		if !former.Equal(root.Authority.Certificate) && ca.Certificate.CheckSignatureFrom(former) == nil {
			return ca
		}
	}
	return nil
}

// accepted returns the intermediate that the cluster holds when it is whole and not revoked.
func accepted(root *Root, current map[string][]byte) *Authority {
	if len(current) == 0 {
		return nil
	}
	ca, err := ParseAuthority(current)
	if err != nil || root.Revoked.Holds(revocation.Of(ca.Certificate)) {
		return nil
	}
	return ca
}

// has says whether a bundle holds the root in use.
func has(bundle []byte, root *Root) bool {
	certs, err := ParseBundle(bundle)
	return err == nil && slices.ContainsFunc(certs, root.Authority.Certificate.Equal)
}

// renewAt is the time at which an intermediate is renewed. One that its root's end
// cut short lives two thirds of its life as well.
func renewAt(c *x509.Certificate) time.Time {
	life := c.NotAfter.Sub(c.NotBefore)
	return c.NotAfter.Add(-min(intermediateRenewBefore, life/3))
}
