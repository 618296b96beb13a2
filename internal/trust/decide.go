// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"crypto/x509"
	"fmt"
	"time"
)

// Root is what a NetworkStack's root Secret holds.
type Root struct {
	Authority *Authority
	// Bundle is the root in use and those that it replaced and that are still valid.
	Bundle []*x509.Certificate
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
	return &Root{Authority: a, Bundle: bundle}, nil
}

// Data returns the root as its Secret holds it.
func (r *Root) Data() (map[string][]byte, error) {
	data, err := r.Authority.Data()
	if err != nil {
		return nil, err
	}
	data[KeyBundle] = EncodeBundle(r.Bundle...)
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
	}
	next.Bundle = mergeRoots(now, a.Certificate, others...)
	return next, nil
}

// Cluster is what a cluster holds, or shall hold.
type Cluster struct {
	// CA is the Data of the cluster's CA Secret: certificate, key and root bundle.
	CA map[string][]byte
	// Bundle is the root bundle that everyone in the cluster may read, PEM.
	Bundle []byte
	// RenewAt is the time at which the cluster's CA is to be renewed.
	RenewAt time.Time
}

// Next returns what a cluster shall hold at now, given the Data of its CA Secret
// (nil when there is none). It keeps the intermediate while it is fresh and signed
// by the root in use; a new one is made otherwise. Roots that the cluster trusted
// until now stay in its bundle until they end, so that certificates of the former
// intermediate go on being accepted.
func Next(cluster string, root *Root, current map[string][]byte, now time.Time) (*Cluster, error) {
	ca := keep(root, current, now)
	if ca == nil {
		var err error
		if ca, err = root.Authority.NewIntermediate(cluster, now); err != nil {
			return nil, err
		}
	}
	others := append([]*x509.Certificate(nil), root.Bundle...)
	if held, err := ParseBundle(current[KeyBundle]); err == nil {
		others = append(others, held...)
	}
	bundle := EncodeBundle(mergeRoots(now, root.Authority.Certificate, others...)...)
	data, err := ca.Data()
	if err != nil {
		return nil, err
	}
	data[KeyBundle] = bundle
	return &Cluster{CA: data, Bundle: bundle, RenewAt: renewAt(ca.Certificate)}, nil
}

// keep returns the intermediate that the cluster holds when it can stay.
func keep(root *Root, current map[string][]byte, now time.Time) *Authority {
	if len(current) == 0 {
		return nil
	}
	ca, err := ParseAuthority(current)
	if err != nil || !now.Before(renewAt(ca.Certificate)) {
		return nil
	}
	if ca.Certificate.CheckSignatureFrom(root.Authority.Certificate) != nil {
		return nil
	}
	return ca
}

// renewAt is the time at which an intermediate is renewed. One that its root's end
// cut short lives two thirds of its life as well.
func renewAt(c *x509.Certificate) time.Time {
	life := c.NotAfter.Sub(c.NotBefore)
	return c.NotAfter.Add(-min(intermediateRenewBefore, life/3))
}
