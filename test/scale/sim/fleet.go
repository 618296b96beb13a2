// SPDX-License-Identifier: Apache-2.0

package sim

import (
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
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// Fleet is many clusters, each at a port of its own.
type Fleet struct {
	Clusters []*Cluster
	servers  []*http.Server
	configs  []*rest.Config
}

// Start starts clusters, each with nodes. What they serve is asked of the API server at like.
func Start(like *rest.Config, clusters, nodes int) (*Fleet, error) {
	client, err := rest.HTTPClientFor(like)
	if err != nil {
		return nil, err
	}
	cert, ca, err := certificate()
	if err != nil {
		return nil, err
	}
	f := &Fleet{}
	k := &known{client: client, host: strings.TrimSuffix(like.Host, "/"), pages: map[string]page{}}
	for range clusters {
		c := &Cluster{store: newStore(), nodes: nodes, known: k}
		c.store.changed = c.played
		c.begin()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(err, f.Stop())
		}
		srv := &http.Server{Handler: c, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
		go srv.ServeTLS(l, "", "") //nolint:errcheck // it ends with Stop
		f.Clusters, f.servers = append(f.Clusters, c), append(f.servers, srv)
		f.configs = append(f.configs, &rest.Config{Host: "https://" + l.Addr().String(), BearerToken: "t", TLSClientConfig: rest.TLSClientConfig{CAData: ca}})
	}
	return f, nil
}

// Config is how a cluster is reached.
func (f *Fleet) Config(i int) *rest.Config { return f.configs[i] }

// Stop ends all clusters.
func (f *Fleet) Stop() error {
	var errs []error
	for _, s := range f.servers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// certificate makes a certificate for loopback that vouches for itself.
func certificate() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sim"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// known are the answers of a real API server that do not depend on objects.
type known struct {
	client *http.Client
	host   string
	mu     sync.Mutex
	pages  map[string]page
}

type page struct {
	code        int
	contentType string
	body        []byte
}

// serve answers with what the real API server says, which is asked once.
func (k *known) serve(w http.ResponseWriter, r *http.Request) {
	p, err := k.page(r.URL.Path, r.Header.Get("Accept"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", p.contentType)
	w.WriteHeader(p.code)
	_, _ = w.Write(p.body) // who asked may be gone
}

func (k *known) page(path, accept string) (page, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := path + " " + accept
	if p, ok := k.pages[key]; ok {
		return p, nil
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, k.host+path, nil)
	if err != nil {
		return page{}, err
	}
	req.Header.Set("Accept", accept)
	resp, err := k.client.Do(req)
	if err != nil {
		return page{}, fmt.Errorf("asking the real API server for %s: %w", path, err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return page{}, err
	}
	p := page{resp.StatusCode, resp.Header.Get("Content-Type"), raw}
	k.pages[key] = p
	return p, nil
}
