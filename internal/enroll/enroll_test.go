// SPDX-License-Identifier: Apache-2.0

package enroll

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/fairlead-io/fairlead/internal/state"
)

// authority is a root and the intermediate of one cluster.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t testing.TB, parent *authority, isCA bool, lifetime time.Duration) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "ca " + serial.String()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lifetime),
		IsCA: isCA, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	issuer := &authority{c, key}
	if parent != nil {
		issuer = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, c, issuer.cert, key.Public(), issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *authority) keyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func writeDir(t testing.TB, dir string, cert, key, roots []byte) {
	t.Helper()
	for name, data := range map[string][]byte{"tls.crt": cert, "tls.key": key, "ca.crt": roots} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

var quiet = slog.New(slog.DiscardHandler)

func TestBadAuthorityIsNamed(t *testing.T) {
	root, other := newCA(t, nil, true, time.Hour), newCA(t, nil, true, time.Hour)
	inter, leaf := newCA(t, root, true, time.Hour), newCA(t, root, false, time.Hour)
	for _, c := range []struct {
		name             string
		cert, key, roots []byte
		words            string
	}{
		{"not a certificate", []byte("x"), inter.keyPEM(t), root.certPEM(), "keys tls.crt and tls.key are not a certificate with its key"},
		{"key of another", inter.certPEM(), other.keyPEM(t), root.certPEM(), "keys tls.crt and tls.key are not a certificate with its key"},
		{"not a CA", leaf.certPEM(), leaf.keyPEM(t), root.certPEM(), "key tls.crt is not a CA certificate"},
		{"no roots", inter.certPEM(), inter.keyPEM(t), []byte("x"), "key ca.crt holds no certificate"},
		{"roots of another", inter.certPEM(), inter.keyPEM(t), other.certPEM(), "is not accepted by the roots"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeDir(t, dir, c.cert, c.key, c.roots)
			_, err := NewAuthority(dir, "alpha", quiet)
			if err == nil || !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("got %v, want %q", err, c.words)
			}
		})
	}
	t.Run("a file is missing", func(t *testing.T) {
		_, err := NewAuthority(t.TempDir(), "alpha", quiet)
		if err == nil || !strings.Contains(err.Error(), "Secret fairlead-cluster-ca") || !strings.Contains(err.Error(), "tls.crt") {
			t.Errorf("got %v", err)
		}
	})
}

// serve is a handshake with the authority's configuration; it returns the server's leaf.
func handshake(t *testing.T, a *Authority, client *tls.Config) (*x509.Certificate, error) {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	result := make(chan error, 1)
	go func() {
		s := tls.Server(far, a.TLS())
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		result <- err
	}()
	c := tls.Client(near, client)
	if err := c.Handshake(); err != nil {
		near.Close()
		<-result
		return nil, err
	}
	if _, err := c.Read(make([]byte, 1)); err != nil { // TLS 1.3: a refused certificate shows here
		near.Close()
		<-result
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], <-result
}

func TestSharedSecret(t *testing.T) {
	root := newCA(t, nil, true, time.Hour)
	secret := func(inter *authority, cluster, purpose string) string {
		t.Helper()
		dir := t.TempDir()
		writeDir(t, dir, inter.certPEM(), inter.keyPEM(t), root.certPEM())
		a, err := NewAuthority(dir, cluster, quiet)
		if err != nil {
			t.Fatal(err)
		}
		b, err := a.SharedSecret(purpose)
		if err != nil || len(b) != 32 {
			t.Fatalf("got %d bytes, %v", len(b), err)
		}
		return string(b)
	}
	one, two := newCA(t, root, true, time.Hour), newCA(t, root, true, time.Hour)
	want := secret(one, "alpha", "x")
	if secret(one, "alpha", "x") != want {
		t.Error("two controllers of a cluster have two secrets")
	}
	for what, other := range map[string]string{
		"purposes": secret(one, "alpha", "y"), "clusters": secret(one, "bravo", "x"), "keys": secret(two, "alpha", "x"),
	} {
		if other == want {
			t.Errorf("two %s have one secret", what)
		}
	}
}

func TestServingCertificate(t *testing.T) {
	root := newCA(t, nil, true, 30*24*time.Hour)
	inter := newCA(t, root, true, 10*24*time.Hour)
	dir := t.TempDir()
	writeDir(t, dir, inter.certPEM(), inter.keyPEM(t), root.certPEM())
	a, err := NewAuthority(dir, "alpha", quiet)
	if err != nil {
		t.Fatal(err)
	}
	clock := time.Now()
	a.now = func() time.Time { return clock }
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	client := &tls.Config{RootCAs: pool, ServerName: ServerName, Time: func() time.Time { return clock }}
	leaf := func() *x509.Certificate {
		t.Helper()
		c, err := handshake(t, a, client)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := leaf()
	if len(first.URIs) != 1 || first.URIs[0].String() != "spiffe://alpha.fairlead.io/controller" {
		t.Errorf("URIs %v", first.URIs)
	}
	if d := first.NotAfter.Sub(clock); d > Lifetime || d < Lifetime-time.Minute {
		t.Errorf("valid for %v", d)
	}
	clock = clock.Add(15 * time.Hour)
	if !leaf().Equal(first) {
		t.Error("renewed before two thirds of its life were over")
	}
	clock = clock.Add(2 * time.Hour)
	second := leaf()
	if second.Equal(first) {
		t.Error("not renewed when two thirds of its life were over")
	}

	// The intermediate is replaced: used at once. Then by rubbish: the last good one stays.
	fresh := newCA(t, root, true, 10*24*time.Hour)
	writeDir(t, dir, fresh.certPEM(), fresh.keyPEM(t), root.certPEM())
	third := leaf()
	if err := third.CheckSignatureFrom(fresh.cert); err != nil {
		t.Errorf("not of the new intermediate: %v", err)
	}
	writeDir(t, dir, []byte("rubbish of some length"), fresh.keyPEM(t), root.certPEM())
	if !leaf().Equal(third) {
		t.Error("rubbish changed the serving certificate")
	}

	// A leaf never outlives its issuer.
	clock = fresh.cert.NotAfter.Add(-time.Hour)
	if last := leaf(); last.NotAfter.After(fresh.cert.NotAfter) {
		t.Errorf("valid until %v, its issuer until %v", last.NotAfter, fresh.cert.NotAfter)
	}
	clock = fresh.cert.NotAfter.Add(time.Hour)
	if _, err := handshake(t, a, client); err == nil {
		t.Error("an expired intermediate still serves")
	}
}

func TestClientCertificates(t *testing.T) {
	root, stranger := newCA(t, nil, true, 48*time.Hour), newCA(t, nil, true, 48*time.Hour)
	dirs := map[string]*Authority{}
	for name, cluster := range map[string]string{"ours": "alpha", "sister": "bravo"} {
		inter := newCA(t, root, true, 48*time.Hour)
		dir := t.TempDir()
		writeDir(t, dir, inter.certPEM(), inter.keyPEM(t), root.certPEM())
		a, err := NewAuthority(dir, cluster, quiet)
		if err != nil {
			t.Fatal(err)
		}
		dirs[name] = a
	}
	foreign := newCA(t, stranger, true, 48*time.Hour)
	dir := t.TempDir()
	writeDir(t, dir, foreign.certPEM(), foreign.keyPEM(t), stranger.certPEM())
	strange, err := NewAuthority(dir, "alpha", quiet)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	present := func(a *Authority) *tls.Config {
		conf := &tls.Config{RootCAs: pool, ServerName: ServerName}
		if a != nil {
			chain, err := a.SignNode("n1", key.Public())
			if err != nil {
				t.Fatal(err)
			}
			// Presented whether or not the server's list of roots suits it.
			conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return &tls.Certificate{Certificate: chain, PrivateKey: key}, nil
			}
		}
		return conf
	}
	for _, c := range []struct {
		name     string
		of       *Authority
		accepted bool
	}{{"ours", dirs["ours"], true}, {"none", nil, true}, {"of a stranger", strange, false}} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := handshake(t, dirs["ours"], present(c.of)); (err == nil) != c.accepted {
				t.Errorf("handshake: %v", err)
			}
		})
	}
	if _, err := handshake(t, dirs["ours"], &tls.Config{RootCAs: pool, ServerName: ServerName, MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 is accepted")
	}

	for _, c := range []struct {
		name string
		of   *Authority
		code codes.Code
	}{{"ours", dirs["ours"], codes.OK}, {"of a sister cluster", dirs["sister"], codes.PermissionDenied}} {
		t.Run(c.name, func(t *testing.T) {
			chain, err := c.of.SignNode("n1", key.Public())
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(chain[0])
			if err != nil {
				t.Fatal(err)
			}
			ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{
				VerifiedChains: [][]*x509.Certificate{{leaf}},
			}}})
			node, err := NodeOf(ctx, "alpha")
			if status.Code(err) != c.code || c.code == codes.OK && node != "n1" {
				t.Errorf("node %q, %v", node, err)
			}
		})
	}
	if _, err := NodeOf(t.Context(), "alpha"); status.Code(err) != codes.Unauthenticated {
		t.Errorf("nobody: %v", err)
	}
}

type reviewer struct {
	token Token
	err   error
}

func (r reviewer) Review(context.Context, string) (Token, error) { return r.token, r.err }

func TestEnroll(t *testing.T) {
	root := newCA(t, nil, true, 48*time.Hour)
	inter := newCA(t, root, true, 48*time.Hour)
	dir := t.TempDir()
	writeDir(t, dir, inter.certPEM(), inter.keyPEM(t), root.certPEM())
	a, err := NewAuthority(dir, "alpha", quiet)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr := func(name string, key crypto.Signer) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	broken := csr("n1", ec)
	broken[len(broken)-1] ^= 1
	const user = "system:serviceaccount:fairlead-system:fairlead-agent"
	good := reviewer{token: Token{Username: user, Node: "n1"}}
	for _, c := range []struct {
		name     string
		reviewer Reviewer
		token    string
		csr      []byte
		code     codes.Code
		words    string
	}{
		{"good", good, "t", csr("n1", ec), codes.OK, ""},
		{"no token", good, "", csr("n1", ec), codes.Unauthenticated, "field token"},
		{"absurd token", good, strings.Repeat("t", 1<<20), csr("n1", ec), codes.Unauthenticated, "field token"},
		{"refused token", reviewer{err: ErrTokenRefused}, "t", csr("n1", ec), codes.Unauthenticated, `its audience must be "fairlead-controller"`},
		{"API server away", reviewer{err: errors.New("connection refused")}, "t", csr("n1", ec), codes.Unavailable, "connection refused"},
		{"another account", reviewer{token: Token{Username: "eve", Node: "n1"}}, "t", csr("n1", ec), codes.PermissionDenied, `token is of "eve"`},
		{"no node", reviewer{token: Token{Username: user}}, "t", csr("n1", ec), codes.Unauthenticated, "bound to no node"},
		{"another node", good, "t", csr("n2", ec), codes.PermissionDenied, `for node "n2"`},
		{"no request", good, "t", nil, codes.InvalidArgument, "field csr"},
		{"absurd request", good, "t", make([]byte, 1<<20), codes.InvalidArgument, "field csr"},
		{"broken signature", good, "t", broken, codes.InvalidArgument, "not signed by its own key"},
		{"another kind of key", good, "t", csr("n1", ed), codes.InvalidArgument, "use ECDSA"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := NewService(a, c.reviewer, user, nil, quiet)
			resp, err := s.Enroll(t.Context(), &state.EnrollRequest{Token: c.token, Csr: c.csr})
			if status.Code(err) != c.code || err != nil && !strings.Contains(err.Error(), c.words) {
				t.Fatalf("got %v, want %v with %q", err, c.code, c.words)
			}
			if err != nil {
				return
			}
			leaf, err := x509.ParseCertificate(resp.GetChain()[0])
			if err != nil {
				t.Fatal(err)
			}
			if leaf.Subject.CommonName != "n1" || leaf.URIs[0].String() != "spiffe://alpha.fairlead.io/node/n1" || leaf.IsCA ||
				len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
				t.Errorf("certificate %+v", leaf)
			}
			if d := time.Until(leaf.NotAfter); d > Lifetime {
				t.Errorf("valid for %v", d)
			}
			for _, der := range resp.GetChain() {
				if bytes.Equal(der, root.cert.Raw) {
					t.Error("the root is in the chain")
				}
			}
		})
	}
}

func FuzzSigningRequest(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "n1"}}, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Fuzz(func(t *testing.T, data []byte) {
		csr, err := parseCSR(data)
		if err == nil && csr.CheckSignature() != nil {
			t.Fatal("accepted without a signature")
		}
		if err != nil && status.Code(err) != codes.InvalidArgument {
			t.Fatalf("%v", err)
		}
	})
}
