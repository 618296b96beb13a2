// SPDX-License-Identifier: Apache-2.0

package enroll

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fairlead-io/fairlead/internal/trust/revocation"
)

// Lifetime is how long the certificates are valid that an Authority issues.
const Lifetime = 24 * time.Hour

// skew is how far clocks of nodes may be behind the controller's.
const skew = 5 * time.Minute

// Authority issues certificates from the cluster's intermediate CA. It reads the
// files again when they change, and renews its own serving certificate when two
// thirds of its life are over; both happen as part of a handshake or a signing, the
// only moments at which they matter. Whom it refuses is in guard.go.
type Authority struct {
	dir, cluster string
	lifetime     time.Duration
	now          func() time.Time
	log          *slog.Logger

	// revoked is the list of CAs that are not accepted any more.
	revoked *revocation.File
	// look is how often Watch reads it.
	look time.Duration

	mu      sync.Mutex
	stamps  stamps
	ca      *ca
	serving *tls.Certificate
	open    map[*guarded]struct{}
}

// ca is the content of the directory at one moment.
type ca struct {
	cert  *x509.Certificate
	key   crypto.Signer
	chain [][]byte // of the intermediate, DER, without roots
	roots *x509.CertPool
	// signers are the keys of the intermediate and of those above it.
	signers []revocation.Fingerprint
}

// stamp tells one content of a file from another without reading it.
type stamp struct {
	size    int64
	changed time.Time
}

// stamps tells one content of the directory from another.
type stamps struct {
	folder string
	files  [3]stamp
}

var caFiles = [3]string{"tls.crt", "tls.key", "ca.crt"}

// NewAuthority reads tls.crt, tls.key (the intermediate), ca.crt (the root bundle) and
// revoked (CAs that are not accepted any more; no file is none) from dir. Its errors name
// the file and what it must hold.
func NewAuthority(dir, cluster string, log *slog.Logger) (*Authority, error) {
	a := &Authority{
		dir: dir, cluster: cluster, lifetime: Lifetime, now: time.Now, log: log,
		revoked: revocation.NewFile(filepath.Join(dir, revocation.Key), log), look: lookEvery, open: map[*guarded]struct{}{},
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.revoked.List(); err != nil {
		return nil, err
	}
	var err error
	if a.stamps, a.ca, err = a.load(stamps{}); err != nil {
		return nil, err
	}
	return a, nil
}

// load reads the directory unless it is as it was when known was taken; then it returns no
// CA. A kubelet puts a new folder in the place of the former one: what is read is of one
// folder, and read again when that went meanwhile.
func (a *Authority) load(known stamps) (seen stamps, fresh *ca, err error) {
	for range 3 {
		folder := a.dir
		if real, err := filepath.EvalSymlinks(filepath.Join(a.dir, "..data")); err == nil {
			folder = real
		}
		if seen, err = stampOf(folder); err == nil && seen == known {
			return seen, nil, nil
		}
		if err == nil {
			fresh, err = readCA(folder, a.now())
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return seen, fresh, err
}

func stampOf(folder string) (stamps, error) {
	out := stamps{folder: folder}
	for i, name := range caFiles {
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil {
			return out, fmt.Errorf("the cluster's CA cannot be read (is Secret fairlead-cluster-ca mounted, with key %s?): %w", name, err)
		}
		out.files[i] = stamp{info.Size(), info.ModTime()}
	}
	return out, nil
}

func readCA(folder string, now time.Time) (*ca, error) {
	var content [3][]byte
	for i, name := range caFiles {
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return nil, fmt.Errorf("the cluster's CA cannot be read: %w", err)
		}
		content[i] = data
	}
	return parseCA(content[0], content[1], content[2], now)
}

// parseCA checks that the files fit together, so that no certificate is issued that
// nobody would accept.
func parseCA(certPEM, keyPEM, rootsPEM []byte, now time.Time) (*ca, error) {
	const secret = "Secret fairlead-cluster-ca"
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: keys tls.crt and tls.key are not a certificate with its key: %w; issue the cluster's intermediate again", secret, err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA || !pair.Leaf.BasicConstraintsValid {
		return nil, fmt.Errorf("%s: key tls.crt is not a CA certificate; issue the cluster's intermediate again", secret)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(rootsPEM) {
		return nil, fmt.Errorf("%s: key ca.crt holds no certificate; it must be the PEM bundle of roots", secret)
	}
	others := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			others.AddCert(c)
		}
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: others, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, fmt.Errorf("%s: the intermediate in tls.crt is not accepted by the roots in ca.crt: %w; hand both out together", secret, err)
	}
	c := &ca{cert: pair.Leaf, key: key, roots: roots}
	for _, der := range pair.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			continue
		}
		c.signers = append(c.signers, revocation.Of(cert))
		if !bytes.Equal(cert.RawIssuer, cert.RawSubject) {
			c.chain = append(c.chain, der)
		}
	}
	return c, nil
}

// current returns the CA, read again if its files have changed. A change that cannot
// be used is reported and the last good content stays in use.
func (a *Authority) current() *ca {
	seen, fresh, err := a.load(a.stamps)
	if err != nil {
		a.log.Error("the cluster's CA has changed and cannot be used; the last good one stays in use", "error", err)
		return a.ca
	}
	if fresh == nil {
		return a.ca
	}
	if !fresh.cert.Equal(a.ca.cert) {
		a.log.Info("the cluster's CA has changed", "subject", fresh.cert.Subject.CommonName, "notAfter", fresh.cert.NotAfter)
	}
	a.stamps, a.ca, a.serving = seen, fresh, nil
	return a.ca
}

// issue signs a leaf. It is never valid for longer than its issuer.
func (a *Authority) issue(c *ca, public crypto.PublicKey, subject string, uri *url.URL, dns []string, usage x509.ExtKeyUsage) ([][]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	if err := a.check(c.signers); err != nil {
		return nil, err
	}
	now := a.now()
	if now.After(c.cert.NotAfter) {
		return nil, fmt.Errorf("the cluster's intermediate CA expired at %s; the operator renews Secret fairlead-cluster-ca", c.cert.NotAfter.Format(time.RFC3339))
	}
	notAfter := now.Add(a.lifetime)
	if notAfter.After(c.cert.NotAfter) {
		notAfter = c.cert.NotAfter
	}
	leaf := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: subject},
		NotBefore:    now.Add(-skew),
		NotAfter:     notAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{usage},
		URIs:         []*url.URL{uri},
		DNSNames:     dns,

		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, c.cert, public, c.key)
	if err != nil {
		return nil, err
	}
	return append([][]byte{der}, c.chain...), nil
}

// SignNode issues a client certificate for a node's agent: a chain in DER, leaf first.
func (a *Authority) SignNode(node string, public crypto.PublicKey) ([][]byte, error) {
	a.mu.Lock()
	c := a.current()
	a.mu.Unlock()
	return a.issue(c, public, node, NodeURI(a.cluster, node), nil, x509.ExtKeyUsageClientAuth)
}

// SharedSecret returns 32 bytes that every controller of the cluster derives from the
// intermediate's private key (RFC 5869), for a purpose. Who knows them learns nothing of
// the key, or of other purposes' secrets. They change when the intermediate's key does.
func (a *Authority) SharedSecret(purpose string) ([]byte, error) {
	a.mu.Lock()
	c := a.current()
	a.mu.Unlock()
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return nil, fmt.Errorf("the cluster's CA: a secret cannot be derived from its key: %w", err)
	}
	return hkdf.Key(sha256.New, der, nil, "fairlead shared secret v1: "+a.cluster+": "+purpose, 32)
}

// servingCertificate is this controller's certificate, renewed when it is due.
func (a *Authority) servingCertificate(c *ca) (*tls.Certificate, error) {
	if err := a.check(c.signers); err != nil {
		return nil, err
	}
	now := a.now()
	if a.serving != nil {
		leaf := a.serving.Leaf
		if now.Before(leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3)) {
			return a.serving, nil
		}
	}
	fresh, err := a.newServing(c)
	if err != nil {
		if a.serving != nil && now.Before(a.serving.Leaf.NotAfter) {
			a.log.Error("the serving certificate cannot be renewed yet", "error", err)
			return a.serving, nil
		}
		return nil, err
	}
	a.serving = fresh
	return fresh, nil
}

func (a *Authority) newServing(c *ca) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	chain, err := a.issue(c, key.Public(), ServerName, ControllerURI(a.cluster), []string{ServerName}, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}, nil
}
