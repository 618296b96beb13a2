// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	stdsync "sync"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/fairlead-io/fairlead/internal/state"
	"github.com/fairlead-io/fairlead/internal/trust/revocation"
)

const (
	certFile = "client.crt"
	keyFile  = "client.key"
	// enrollTimeout bounds one enrollment, the controller's question to the API server included.
	enrollTimeout = 10 * time.Second
)

// identity is the agent's client certificate: on disk, in memory, renewed.
type identity struct {
	cfg     Config
	revoked *revocation.File

	mu         stdsync.Mutex
	cert       *tls.Certificate // nil: none yet
	distrusted bool             // a controller refused it: try to get another first
}

func newIdentity(cfg Config) *identity {
	id := &identity{cfg: cfg, revoked: revocation.NewFile(cfg.RevokedFile, cfg.Log)}
	cert, err := readCertificate(cfg)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		cfg.Log.Warn("the saved client certificate cannot be used; enrolling for a new one",
			"file", filepath.Join(cfg.StateDir, certFile), "error", err)
	default:
		id.cert = cert
	}
	return id
}

// readCertificate reads the certificate and key of an earlier run.
func readCertificate(cfg Config) (*tls.Certificate, error) {
	chain, err := os.ReadFile(filepath.Join(cfg.StateDir, certFile))
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(filepath.Join(cfg.StateDir, keyFile))
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, err
	}
	if err := checkLeaf(cfg, cert.Leaf); err != nil {
		return nil, err
	}
	return &cert, nil
}

// checkLeaf says whether a certificate is this agent's.
func checkLeaf(cfg Config, leaf *x509.Certificate) error {
	if leaf.Subject.CommonName != cfg.NodeName {
		return fmt.Errorf("it is of node %q, not %q", leaf.Subject.CommonName, cfg.NodeName)
	}
	for _, u := range leaf.URIs {
		if u.String() == nodeURI(cfg).String() {
			return nil
		}
	}
	return fmt.Errorf("it does not name %s", nodeURI(cfg))
}

func nodeURI(cfg Config) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: cfg.ClusterName + ".fairlead.io", Path: "/node/" + cfg.NodeName}
}

func controllerURI(cfg Config) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: cfg.ClusterName + ".fairlead.io", Path: "/controller"}
}

// distrust makes the next session enroll first. If that fails the certificate is
// used once more: it may have been refused for a reason that has passed.
func (id *identity) distrust() {
	id.mu.Lock()
	defer id.mu.Unlock()
	id.distrusted = id.cert != nil
}

// usable returns the certificate if it is valid now and its CA was not revoked.
func (id *identity) usable() *tls.Certificate {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.cert == nil || time.Now().After(id.cert.Leaf.NotAfter) || id.check(signersOf(id.cert)) != nil {
		return nil
	}
	return id.cert
}

// renewAt is when two thirds of the certificate's life are over.
func (id *identity) renewAt() time.Time {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.cert == nil {
		return time.Now()
	}
	leaf := id.cert.Leaf
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3)
}

// ensure enrolls with the controller at address when there is no usable certificate.
func (id *identity) ensure(ctx context.Context, address string) error {
	id.mu.Lock()
	distrusted := id.distrusted
	id.distrusted = false
	id.mu.Unlock()
	if id.usable() != nil && !distrusted {
		return nil
	}
	err := id.enroll(ctx, address)
	if err != nil && id.usable() != nil {
		id.cfg.Log.Warn("a controller refused the certificate and no new one could be had; trying it once more", "controller", address, "error", err)
		return nil
	}
	return err
}

// enroll obtains a certificate for a fresh key and keeps both.
func (id *identity) enroll(ctx context.Context, address string) error {
	token, err := os.ReadFile(id.cfg.TokenFile)
	if err != nil {
		return fmt.Errorf("the agent's ServiceAccount token cannot be read (is the projected volume mounted?): %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: id.cfg.NodeName},
		URIs:    []*url.URL{nodeURI(id.cfg)},
	}, key)
	if err != nil {
		return err
	}
	conf, _, err := id.tlsConfig(nil)
	if err != nil {
		return err
	}
	conn, err := dial(id.cfg, address, credentials.NewTLS(conf))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, enrollTimeout)
	defer cancel()
	resp, err := state.NewEnrollmentClient(conn).Enroll(ctx, &state.EnrollRequest{Token: string(bytes.TrimSpace(token)), Csr: csr})
	if err != nil {
		return fmt.Errorf("enrollment: %w", err)
	}
	return id.keep(resp.GetChain(), key)
}

// keep checks a new certificate, writes it with its key, and puts it into use.
func (id *identity) keep(chain [][]byte, key *ecdsa.PrivateKey) error {
	var certPEM bytes.Buffer
	for _, der := range chain {
		if err := pem.Encode(&certPEM, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return err
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	cert, err := tls.X509KeyPair(certPEM.Bytes(), keyPEM)
	if err != nil {
		return fmt.Errorf("enrollment: the controller's answer cannot be used: %w", err)
	}
	if err := checkLeaf(id.cfg, cert.Leaf); err != nil {
		return fmt.Errorf("enrollment: the controller's certificate cannot be used: %w", err)
	}
	// A crash between the two writes leaves a pair that does not match: the next
	// start notices and enrolls again.
	err = errors.Join(
		writeAtomic(filepath.Join(id.cfg.StateDir, keyFile), keyPEM, 0o600),
		writeAtomic(filepath.Join(id.cfg.StateDir, certFile), certPEM.Bytes(), 0o600),
	)
	if err != nil {
		id.cfg.Log.Warn("the client certificate cannot be saved; a restarted agent will have to enroll again", "error", err)
	}
	id.mu.Lock()
	id.cert, id.distrusted = &cert, false
	id.mu.Unlock()
	id.cfg.Log.Info("enrolled", "notAfter", cert.Leaf.NotAfter)
	return nil
}

// credentials are those of the stream: the certificate is the one in use at the
// moment of the handshake. The link knows, after it, whom the stream depends on.
func (id *identity) credentials() (credentials.TransportCredentials, *link, error) {
	conf, l, err := id.tlsConfig(id.usable())
	if err != nil {
		return nil, nil, err
	}
	return credentials.NewTLS(conf), l, nil
}

// tlsConfig accepts only a controller of this cluster whose CA was not revoked.
func (id *identity) tlsConfig(cert *tls.Certificate) (*tls.Config, *link, error) {
	pemRoots, err := os.ReadFile(id.cfg.RootsFile)
	if err != nil {
		return nil, nil, fmt.Errorf("the root certificates cannot be read (is ConfigMap fairlead-trust mounted?): %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pemRoots) {
		return nil, nil, fmt.Errorf("%s holds no certificate; key ca.crt of ConfigMap fairlead-trust must be a PEM bundle", id.cfg.RootsFile)
	}
	l := &link{identity: id}
	conf := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: ServerName}
	if cert != nil {
		conf.Certificates, l.own = []tls.Certificate{*cert}, signersOf(cert)
	}
	conf.VerifyConnection = func(cs tls.ConnectionState) error {
		want := controllerURI(id.cfg).String()
		if !slices.ContainsFunc(cs.PeerCertificates[0].URIs, func(u *url.URL) bool { return u.String() == want }) {
			return fmt.Errorf("the controller's certificate does not name %s: it is of another cluster", want)
		}
		return l.met(revocation.OfChains(cs.VerifiedChains))
	}
	return conf, l, nil
}

// renew gets a new certificate when two thirds of the old one's life are over. The
// present stream keeps running; the next one uses the new certificate. (The first
// certificate is obtained by the stream that needs it.)
func (c *Client) renew(ctx context.Context) {
	wait := c.cfg.MaxRetry
	for ctx.Err() == nil {
		if c.identity.usable() == nil {
			sleep(ctx, nil, jitter(c.cfg.MaxRetry))
			continue
		}
		if d := time.Until(c.identity.renewAt()); d > 0 {
			sleep(ctx, nil, min(d, time.Minute)) // short naps: the clock of the machine may jump
			continue
		}
		if err := c.renewOnce(ctx); err != nil {
			c.cfg.Log.Warn("the client certificate cannot be renewed yet", "error", err)
			sleep(ctx, nil, jitter(wait))
			wait = min(2*wait, 5*time.Minute)
			continue
		}
		wait = c.cfg.MaxRetry
	}
}

func (c *Client) renewOnce(ctx context.Context) error {
	addresses, _ := c.book.get()
	err := errors.New("no controller address is known")
	for _, address := range order(addresses, "") {
		if err = c.identity.enroll(ctx, address); err == nil {
			return nil
		}
	}
	return err
}
