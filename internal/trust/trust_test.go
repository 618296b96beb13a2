// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"maps"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func newRoot(t *testing.T, name string, now time.Time) *Root {
	t.Helper()
	r, err := NextRoot(name, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func next(t *testing.T, root *Root, current map[string][]byte, now time.Time) *Cluster {
	t.Helper()
	c, err := Next("ns/alpha", root, Held{CA: current}, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// settle brings a cluster to a root that is new to it: the bundle first, and the CA once
// every node has had the time to get the bundle.
func settle(t *testing.T, root *Root, held *Cluster, at time.Time) *Cluster {
	t.Helper()
	is := Held{CA: held.CA, Bundle: held.Bundle, Root: held.Root, RootSince: held.RootSince}
	step := func(at time.Time) *Cluster {
		t.Helper()
		c, err := Next("ns/alpha", root, is, at)
		if err != nil {
			t.Fatal(err)
		}
		is = Held{CA: c.CA, Bundle: c.Bundle, Root: c.Root, RootSince: c.RootSince}
		return c
	}
	for _, after := range []time.Duration{0, time.Second, Settle - time.Second} {
		c := step(at.Add(after))
		if !c.Moving || !c.RenewAt.Equal(at.Add(Settle)) || !bytes.Equal(c.CA[KeyCertificate], held.CA[KeyCertificate]) {
			t.Fatalf("after %s the CA is of a root that nodes may not have yet (moving: %v, again at %s)", after, c.Moving, c.RenewAt)
		}
		if certs, err := ParseBundle(c.Bundle); err != nil || !certs[0].Equal(root.Authority.Certificate) || !bytes.Equal(c.Bundle, c.CA[KeyBundle]) {
			t.Fatalf("the new root is not in the bundle: %v", err)
		}
	}
	c := step(at.Add(Settle))
	if c.Moving || c.Intermediate.CheckSignatureFrom(root.Authority.Certificate) != nil {
		t.Fatal("the CA of the former root was kept")
	}
	return c
}

// leaf signs a leaf with the CA in data and returns it with its chain.
func leaf(t *testing.T, data map[string][]byte, now time.Time) (*x509.Certificate, *x509.CertPool) {
	t.Helper()
	ca, err := ParseAuthority(data)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "n1"}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.Certificate, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate)
	return c, pool
}

func verify(c *x509.Certificate, intermediates *x509.CertPool, bundle []byte, now time.Time) error {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return fmt.Errorf("the bundle holds no certificate")
	}
	_, err := c.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}

func TestAClusterKeepsItsCAWhileItIsFresh(t *testing.T) {
	root := newRoot(t, "ns/lab", start)
	first := next(t, root, nil, start)
	if ca, err := ParseAuthority(first.CA); err != nil || ca.Certificate.PublicKey.(*ecdsa.PublicKey).Curve != elliptic.P256() {
		t.Fatalf("got %v, %v", ca, err)
	}
	again := next(t, root, first.CA, start.Add(100*24*time.Hour))
	if !maps.EqualFunc(first.CA, again.CA, bytes.Equal) || !bytes.Equal(first.Bundle, again.Bundle) {
		t.Error("a fresh CA was replaced")
	}
	if d := first.RenewAt.Sub(start); d < 240*24*time.Hour || d > 250*24*time.Hour {
		t.Errorf("it is renewed after %s, want two thirds of a year", d)
	}
	c, pool := leaf(t, first.CA, start)
	if err := verify(c, pool, first.Bundle, start); err != nil {
		t.Error(err)
	}
}

func TestRotation(t *testing.T) {
	root := newRoot(t, "ns/lab", start)
	first := next(t, root, nil, start)
	c, chain := leaf(t, first.CA, start.Add(240*24*time.Hour))

	renewed := next(t, root, first.CA, first.RenewAt)
	if bytes.Equal(renewed.CA[KeyCertificate], first.CA[KeyCertificate]) {
		t.Fatal("a CA that is due was kept")
	}
	if err := verify(c, chain, renewed.Bundle, first.RenewAt); err != nil && !strings.Contains(err.Error(), "expired") {
		t.Errorf("a certificate of the former CA is refused: %v", err)
	}

	t.Run("a new root: old certificates stay good, new ones are good for those with the new bundle", func(t *testing.T) {
		at := root.RenewAt().Add(time.Minute)
		root2, err := NextRoot("ns/lab", root, at)
		if err != nil || root2 == root || len(root2.Bundle) != 2 {
			t.Fatalf("got %v with %d roots, %v", root2, len(root2.Bundle), err)
		}
		held := next(t, root, nil, at)
		c, chain := leaf(t, held.CA, at)
		moved := settle(t, root2, held, at)
		at = moved.Intermediate.NotBefore.Add(backdate)
		if err := verify(c, chain, moved.Bundle, at); err != nil {
			t.Errorf("the old certificate is refused: %v", err)
		}
		c2, chain2 := leaf(t, moved.CA, at)
		if err := verify(c2, chain2, moved.Bundle, at); err != nil {
			t.Errorf("the new certificate is refused: %v", err)
		}
		if again := next(t, root2, moved.CA, at); !bytes.Equal(again.Bundle, moved.Bundle) {
			t.Error("the bundle does not rest")
		}
		// When the former root has ended it leaves the bundle.
		late := next(t, root2, moved.CA, root.Authority.Certificate.NotAfter.Add(time.Hour))
		if certs, err := ParseBundle(late.Bundle); err != nil || len(certs) != 1 {
			t.Errorf("got %d roots, %v", len(certs), err)
		}
	})
	t.Run("another NetworkStack takes over: its root is used, the former one stays trusted", func(t *testing.T) {
		other := newRoot(t, "ns/other", start)
		moved := settle(t, other, first, start)
		if certs, err := ParseBundle(moved.Bundle); err != nil || len(certs) != 2 || !certs[0].Equal(other.Authority.Certificate) {
			t.Errorf("got %d roots, %v", len(certs), err)
		}
	})
}

// TestAClusterCannotSpeakForAnother signs leaves with a cluster's key that are not
// its own to sign: everybody who trusts the root must refuse them.
func TestAClusterCannotSpeakForAnother(t *testing.T) {
	root := newRoot(t, "fleet/lab", start)
	ca, err := root.Authority.NewIntermediate("fleet/alpha", start)
	if err != nil {
		t.Fatal(err)
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root.Authority.Certificate)
	intermediates.AddCert(ca.Certificate)
	for _, tc := range []struct {
		name, uri, dns string
		accepted       bool
	}{
		{"a node of its own", "spiffe://alpha.fairlead.io/node/a", "", true},
		{"its controllers", "spiffe://alpha.fairlead.io/controller", "fairlead-controller.fairlead-system", true},
		{"a node of another cluster", "spiffe://bravo.fairlead.io/node/b", "", false},
		{"another server", "spiffe://alpha.fairlead.io/controller", "kubernetes.default.svc", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			uri, err := url.Parse(tc.uri)
			if err != nil {
				t.Fatal(err)
			}
			leaf := &x509.Certificate{SerialNumber: big.NewInt(7), NotBefore: start, NotAfter: start.Add(time.Hour),
				URIs: []*url.URL{uri}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
			if tc.dns != "" {
				leaf.DNSNames = []string{tc.dns}
			}
			der, err := x509.CreateCertificate(rand.Reader, leaf, ca.Certificate, ca.key.Public(), ca.key)
			if err != nil {
				t.Fatal(err)
			}
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			_, err = cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: start.Add(time.Minute),
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			if (err == nil) != tc.accepted {
				t.Errorf("accepted is %v (%v), want %v", err == nil, err, tc.accepted)
			}
		})
	}
}

func TestARootThatIsNearItsEndSignsNothingLonger(t *testing.T) {
	root := newRoot(t, "ns/lab", start)
	late := root.Authority.Certificate.NotAfter.Add(-30 * 24 * time.Hour)
	c := next(t, root, nil, late)
	ca, err := ParseAuthority(c.CA)
	if err != nil {
		t.Fatal(err)
	}
	if ca.Certificate.NotAfter.After(root.Authority.Certificate.NotAfter) {
		t.Error("the intermediate outlives its root")
	}
	if !c.RenewAt.After(late) {
		t.Error("it is due at once, so that it would be made for ever")
	}
}

func TestABrokenCAIsReplaced(t *testing.T) {
	root := newRoot(t, "ns/lab", start)
	good := next(t, root, nil, start)
	foreign := next(t, newRoot(t, "ns/foreign", start), nil, start)
	for name, broken := range map[string]map[string][]byte{
		"empty":              {},
		"no key":             {KeyCertificate: good.CA[KeyCertificate]},
		"a key of another":   {KeyCertificate: good.CA[KeyCertificate], KeyPrivateKey: foreign.CA[KeyPrivateKey]},
		"of a foreign root":  {KeyCertificate: foreign.CA[KeyCertificate], KeyPrivateKey: foreign.CA[KeyPrivateKey]},
		"nonsense":           {KeyCertificate: []byte("x"), KeyPrivateKey: []byte("y"), KeyBundle: []byte("z")},
		"a key for the cert": {KeyCertificate: good.CA[KeyPrivateKey], KeyPrivateKey: good.CA[KeyPrivateKey]},
	} {
		c := next(t, root, broken, start)
		ca, err := ParseAuthority(c.CA)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := ca.Certificate.CheckSignatureFrom(root.Authority.Certificate); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnAuthorityPrintsNoKey(t *testing.T) {
	root := newRoot(t, "ns/lab", start)
	printed := fmt.Sprintf("%v %+v %#v %s", root.Authority, root.Authority, root.Authority, root.Authority)
	raw, err := root.Authority.key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(printed, new(big.Int).SetBytes(raw).String()) || strings.Contains(printed, hex.EncodeToString(raw)) || !strings.Contains(printed, "ns/lab") {
		t.Errorf("got %s", printed)
	}
}

func FuzzParse(f *testing.F) {
	r, err := NextRoot("ns/lab", nil, start)
	if err != nil {
		f.Fatal(err)
	}
	data, err := r.Data()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[KeyCertificate], data[KeyPrivateKey], data[KeyBundle])
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), []byte{}, []byte("x"))
	f.Fuzz(func(t *testing.T, cert, key, bundle []byte) {
		d := map[string][]byte{KeyCertificate: cert, KeyPrivateKey: key, KeyBundle: bundle}
		if r, err := ParseRoot(d); err == nil && (r.Authority.Certificate == nil || len(r.Bundle) == 0) {
			t.Error("a root without a certificate or a bundle")
		}
		if _, err := Next("c", r, Held{CA: d, Bundle: bundle, Revoked: cert}, start); err != nil {
			t.Errorf("what a cluster holds must never stop its renewal: %v", err)
		}
	})
}
