// SPDX-License-Identifier: Apache-2.0

// Package enrolltest makes the certificates that tests of several packages need:
// a root, a cluster's intermediate as its Secret is mounted, and clients' identities.
package enrolltest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/internal/enroll"
)

// Root is the root of a fleet of test clusters.
type Root struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewRoot makes a root.
func NewRoot(t testing.TB) *Root {
	t.Helper()
	r := &Root{}
	r.Cert, r.key = issue(t, "test root", nil)
	return r
}

// PEM is the root bundle.
func (r *Root) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Cert.Raw})
}

// WriteIntermediate writes a new intermediate into dir as Secret fairlead-cluster-ca
// is mounted.
func (r *Root) WriteIntermediate(t testing.TB, dir string) {
	t.Helper()
	cert, key := issue(t, "test intermediate", r)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"ca.crt":  r.PEM(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// issue makes a CA certificate, self-signed if there is no parent.
func issue(t testing.TB, name string, parent *Root) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	issuer, issuerKey := template, key
	if parent != nil {
		issuer, issuerKey = parent.Cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// ClientTLS is the configuration of a client with a certificate of node from a;
// without one if node is empty.
func ClientTLS(t testing.TB, root *Root, a *enroll.Authority, node string) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(root.Cert)
	conf := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: enroll.ServerName}
	if node == "" {
		return conf
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := a.SignNode(node, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	conf.Certificates = []tls.Certificate{{Certificate: chain, PrivateKey: key}}
	return conf
}
