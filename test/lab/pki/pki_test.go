// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

func authority(t *testing.T, dir string) *Authority {
	t.Helper()
	ca, err := LoadAuthority(dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestIssuedCertificateIsTrustedAndNamed(t *testing.T) {
	dir := t.TempDir()
	ca := authority(t, dir)
	pair, err := ca.Issue(dir, "server", Request{CommonName: "api", Organizations: []string{"o"}, DNSNames: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	cert, _, err := parse(pair)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Cert)
	for _, name := range []string{"localhost", "127.0.0.1"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: "elsewhere"}); err == nil {
		t.Error("the certificate is good for any name")
	}
	if st, err := os.Stat(filepath.Join(dir, "server.key")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the key can be read by others: %v %v", st.Mode(), err)
	}
}

// A lab that is repaired keeps its credentials; one whose files were half written gets new ones.
func TestWhatExistsIsKept(t *testing.T) {
	dir := t.TempDir()
	ca := authority(t, dir)
	first, err := ca.Issue(dir, "user", Request{CommonName: "u"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := authority(t, dir).Issue(dir, "user", Request{CommonName: "u"})
	if err != nil || !bytes.Equal(first.Cert, again.Cert) {
		t.Errorf("the certificate was made anew: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "user.crt")); err != nil {
		t.Fatal(err)
	}
	if again, err = ca.Issue(dir, "user", Request{CommonName: "u"}); err != nil || bytes.Equal(first.Cert, again.Cert) {
		t.Errorf("the half pair was not replaced: %v", err)
	}
	other, err := LoadAuthority(dir, "other")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Issue(dir, "user", Request{CommonName: "u"})
	if err != nil || bytes.Equal(foreign.Cert, again.Cert) {
		t.Errorf("another authority's certificate was kept: %v", err)
	}
}

func TestDamagedAuthorityIsNamed(t *testing.T) {
	dir := t.TempDir()
	authority(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("junk"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadAuthority(dir, "ca"); err == nil {
		t.Error("junk passes for a certificate")
	}
}

func TestKubeconfigIsSelfContained(t *testing.T) {
	dir := t.TempDir()
	ca := authority(t, dir)
	pair, err := ca.Issue(dir, "admin", Request{CommonName: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := Kubeconfig("alpha", "admin", "https://172.30.1.2:6443", ca.Cert, pair)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(raw)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://172.30.1.2:6443" || !bytes.Equal(config.CAData, ca.Cert) || !bytes.Equal(config.KeyData, pair.Key) {
		t.Errorf("the kubeconfig says something else: %s", config.Host)
	}
}
