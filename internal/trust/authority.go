// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"path"
	"time"
)

// Validity of the authorities and the share of it at whose end they are renewed.
// An intermediate is renewed with a third of its life left, so that a management
// cluster may be away for four months; a root with a fifth, so that the clusters
// hold the next root long before the former one ends.
const (
	RootValidity         = 10 * 365 * 24 * time.Hour
	IntermediateValidity = 365 * 24 * time.Hour

	rootRenewBefore         = RootValidity / 5
	intermediateRenewBefore = IntermediateValidity / 3

	// backdate lets clusters whose clock is behind accept a fresh certificate.
	backdate = time.Hour
)

// Keys of the Secrets that hold an authority.
const (
	// KeyCertificate holds the authority's certificate, PEM.
	KeyCertificate = "tls.crt"
	// KeyPrivateKey holds its private key, PEM, PKCS #8.
	KeyPrivateKey = "tls.key"
	// KeyBundle holds the root bundle, PEM, newest first.
	KeyBundle = "ca.crt"
)

// Authority is a certificate authority with its private key.
type Authority struct {
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// String keeps a key out of anything that prints an Authority.
func (a *Authority) String() string {
	return fmt.Sprintf("authority %q until %s", a.Certificate.Subject.CommonName, a.Certificate.NotAfter.UTC().Format(time.DateOnly))
}

// GoString does the same for %#v.
func (a *Authority) GoString() string { return a.String() }

// NewRoot makes a self-signed root for a NetworkStack.
func NewRoot(stack string, now time.Time) (*Authority, error) {
	t, err := template("Fairlead root of "+stack, now, RootValidity, 1)
	if err != nil {
		return nil, err
	}
	return sign(t, nil)
}

// controllerName is the DNS name of every cluster's controllers.
const controllerName = "fairlead-controller.fairlead-system"

// NewIntermediate makes the authority of one cluster ("namespace/name"). It may sign
// leaves only, and by its name constraints (RFC 5280, 4.2.1.10) only identities of
// that cluster: clusters share the root, and one whose key is stolen must not be able
// to speak for another. It ends no later than the root.
func (a *Authority) NewIntermediate(cluster string, now time.Time) (*Authority, error) {
	t, err := template("Fairlead CA of "+cluster, now, IntermediateValidity, 0)
	if err != nil {
		return nil, err
	}
	t.PermittedURIDomains = []string{path.Base(cluster) + ".fairlead.io"}
	t.PermittedDNSDomains = []string{controllerName}
	t.PermittedDNSDomainsCritical = true
	if t.NotAfter.After(a.Certificate.NotAfter) {
		t.NotAfter = a.Certificate.NotAfter
	}
	return sign(t, a)
}

// ParseAuthority reads an authority as Data writes it. Its errors name the key of
// the Secret and never its content.
func ParseAuthority(data map[string][]byte) (*Authority, error) {
	certs, err := ParseBundle(data[KeyCertificate])
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", KeyCertificate, err)
	}
	cert := certs[0]
	if !cert.IsCA || !cert.BasicConstraintsValid {
		return nil, fmt.Errorf("key %s: the certificate is not a CA", KeyCertificate)
	}
	block, _ := pem.Decode(data[KeyPrivateKey])
	if block == nil {
		return nil, fmt.Errorf("key %s: no PEM block", KeyPrivateKey)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key %s: not a PKCS #8 private key", KeyPrivateKey)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key %s: not an ECDSA key", KeyPrivateKey)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("keys %s and %s do not belong together", KeyCertificate, KeyPrivateKey)
	}
	return &Authority{Certificate: cert, key: key}, nil
}

// Data returns certificate and key as a Secret holds them.
func (a *Authority) Data() (map[string][]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, errors.New("a private key could not be encoded")
	}
	return map[string][]byte{
		KeyCertificate: EncodeBundle(a.Certificate),
		KeyPrivateKey:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}, nil
}

func template(name string, now time.Time, validity time.Duration, pathLen int) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber:          serial.Add(serial, big.NewInt(1)),
		Subject:               pkix.Name{Organization: []string{"Fairlead"}, CommonName: name},
		NotBefore:             now.Add(-backdate).UTC(),
		NotAfter:              now.Add(validity).UTC(),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            pathLen,
		MaxPathLenZero:        pathLen == 0,
	}, nil
}

// sign makes a key for the template and signs it with parent, or with itself.
func sign(t *x509.Certificate, parent *Authority) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	issuer, signer := t, key
	if parent != nil {
		issuer, signer = parent.Certificate, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, issuer, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{Certificate: cert, key: key}, nil
}
