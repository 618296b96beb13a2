// SPDX-License-Identifier: Apache-2.0

// Package pki makes a cluster's certificate authorities, keys and kubeconfigs. What exists is kept,
// so a lab that is repaired keeps its credentials.
//
// Keys are written to files that only root can read, and to nowhere else.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/fairlead-io/fairlead/test/lab/atomicfile"
)

// A lab is short-lived; its certificates never expire before it.
const lifetime = 10 * 365 * 24 * time.Hour

// Pair is a certificate with its key, both PEM.
type Pair struct{ Cert, Key []byte }

// Authority is a certificate authority.
type Authority struct {
	Pair
	cert *x509.Certificate
	key  crypto.Signer
}

// Request is what a certificate says.
type Request struct {
	CommonName    string
	Organizations []string
	DNSNames      []string
	IPs           []net.IP
}

// LoadAuthority reads the authority name.crt and name.key of a folder, or makes it.
func LoadAuthority(dir, name string) (*Authority, error) {
	pair, err := load(dir, name)
	if err != nil {
		pair, err = newAuthority(name)
		if err != nil {
			return nil, err
		}
		if err := store(dir, name, pair); err != nil {
			return nil, err
		}
	}
	cert, key, err := parse(pair)
	if err != nil {
		return nil, fmt.Errorf("%s/%s is damaged, remove it: %w", dir, name, err)
	}
	return &Authority{Pair: pair, cert: cert, key: key}, nil
}

// Issue reads the certificate name.crt and name.key of a folder, or makes it.
func (a *Authority) Issue(dir, name string, r Request) (Pair, error) {
	if pair, err := load(dir, name); err == nil {
		if cert, _, err := parse(pair); err == nil && cert.CheckSignatureFrom(a.cert) == nil {
			return pair, nil
		}
	}
	pair, err := a.sign(r)
	if err != nil {
		return Pair{}, err
	}
	return pair, store(dir, name, pair)
}

// LoadSigningKey reads the key name.key of a folder, or makes it, with its public part in name.pub.
func LoadSigningKey(dir, name string) error {
	private, public := filepath.Join(dir, name+".key"), filepath.Join(dir, name+".pub")
	if _, err := os.Stat(public); err == nil { // Written last.
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	pemKey, err := encodeKey(key)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(private, pemKey, 0o600); err != nil {
		return err
	}
	return atomicfile.Write(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub}), 0o644)
}

func newAuthority(name string) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	template := base(name)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	return encode(template, template, key, key)
}

func (a *Authority) sign(r Request) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	template := base(r.CommonName)
	template.Subject.Organization = r.Organizations
	template.DNSNames, template.IPAddresses = r.DNSNames, r.IPs
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	return encode(template, a.cert, key, a.key)
}

func base(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // Never fails.
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(lifetime),
	}
}

func encode(template, parent *x509.Certificate, key *ecdsa.PrivateKey, signer crypto.Signer) (Pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return Pair{}, err
	}
	pemKey, err := encodeKey(key)
	return Pair{Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: pemKey}, err
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

func parse(p Pair) (*x509.Certificate, crypto.Signer, error) {
	certBlock, _ := pem.Decode(p.Cert)
	keyBlock, _ := pem.Decode(p.Key)
	if certBlock == nil || keyBlock == nil {
		return nil, nil, fmt.Errorf("no PEM block")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("the key cannot sign")
	}
	return cert, signer, nil
}

func load(dir, name string) (p Pair, err error) {
	if p.Cert, err = os.ReadFile(filepath.Join(dir, name+".crt")); err != nil {
		return p, err
	}
	p.Key, err = os.ReadFile(filepath.Join(dir, name+".key"))
	return p, err
}

// store writes the key first: a certificate without a key never exists.
func store(dir, name string, p Pair) error {
	if err := atomicfile.Write(filepath.Join(dir, name+".key"), p.Key, 0o600); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, name+".crt"), p.Cert, 0o644)
}
