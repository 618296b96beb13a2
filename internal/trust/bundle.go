// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxRoots bounds a bundle: the root in use and those that it replaced.
const maxRoots = 8

// ParseBundle reads PEM certificates; there must be at least one and nothing else.
func ParseBundle(b []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for len(bytes.TrimSpace(b)) > 0 {
		block, rest := pem.Decode(b)
		if block == nil {
			return nil, errors.New("there is something that is not PEM")
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("there is a PEM block of type %q among the certificates", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("there is a certificate that cannot be read: %w", err)
		}
		out, b = append(out, c), rest
	}
	if len(out) == 0 {
		return nil, errors.New("there is no certificate")
	}
	return out, nil
}

// EncodeBundle writes certificates as PEM, in the given order.
func EncodeBundle(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		// A bytes.Buffer never fails.
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.Bytes()
}

// mergeRoots returns root followed by the still valid roots of the others, newest
// first, each once.
func mergeRoots(now time.Time, root *x509.Certificate, others ...*x509.Certificate) []*x509.Certificate {
	out, others := []*x509.Certificate{root}, slices.Clone(others)
	slices.SortStableFunc(others, func(a, b *x509.Certificate) int {
		return cmp.Or(b.NotBefore.Compare(a.NotBefore), bytes.Compare(a.Raw, b.Raw))
	})
	for _, c := range others {
		if !c.IsCA || c.NotAfter.Before(now) || len(out) == maxRoots || slices.ContainsFunc(out, c.Equal) {
			continue
		}
		out = append(out, c)
	}
	return out
}
