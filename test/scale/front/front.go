// SPDX-License-Identifier: Apache-2.0

package front

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
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
)

// Front is the addresses of many clusters, each a port of its own.
type Front struct {
	clusters []*cluster
	servers  []*http.Server
	configs  []*rest.Config
}

// Start serves each cluster with its handler.
func Start[H http.Handler](handlers []H) (*Front, error) {
	cert, ca, err := certificate()
	if err != nil {
		return nil, err
	}
	f := &Front{}
	for _, h := range handlers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(err, f.Stop())
		}
		c := &cluster{well: h, watching: map[int]context.CancelFunc{}}
		srv := &http.Server{Handler: c, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
		go srv.ServeTLS(l, "", "") //nolint:errcheck // it ends with Stop
		f.clusters, f.servers = append(f.clusters, c), append(f.servers, srv)
		f.configs = append(f.configs, &rest.Config{Host: "https://" + l.Addr().String(), BearerToken: "t", TLSClientConfig: rest.TLSClientConfig{CAData: ca}})
	}
	return f, nil
}

// Config is how a cluster is reached.
func (f *Front) Config(i int) *rest.Config { return f.configs[i] }

// Counts is what a cluster was sent so far.
func (f *Front) Counts(i int) Counts {
	c := f.clusters[i]
	return Counts{c.release.Load(), c.watches.Load(), c.other.Load()}
}

// Fall has a cluster treat requests as an illness says, until well is called. Watches that
// are under way end.
func (f *Front) Fall(i int, ill Illness) (well func()) {
	f.clusters[i].fall(ill)
	return func() { f.clusters[i].fall(nil) }
}

// Stop ends all clusters.
func (f *Front) Stop() error {
	var errs []error
	for _, s := range f.servers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Counts are requests that a cluster was sent.
type Counts struct {
	// Release are those for the release, Watches are those that begin or renew a watch, and
	// Other is the rest: probes, what is served, objects that the operator applies itself.
	Release, Watches, Other int64
}

// All is the number of requests.
func (c Counts) All() int64 { return c.Release + c.Watches + c.Other }

// Minus is what was sent since before.
func (c Counts) Minus(before Counts) Counts {
	return Counts{c.Release - before.Release, c.Watches - before.Watches, c.Other - before.Other}
}

// Plus is the sum of two.
func (c Counts) Plus(other Counts) Counts {
	return Counts{c.Release + other.Release, c.Watches + other.Watches, c.Other + other.Other}
}

// cluster is one address.
type cluster struct {
	well http.Handler

	release, watches, other atomic.Int64

	mu       sync.Mutex
	ill      Illness
	begun    int
	watching map[int]context.CancelFunc
}

func (c *cluster) fall(ill Illness) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ill = ill
	if ill == nil {
		return
	}
	for _, end := range c.watching {
		end()
	}
}

// ServeHTTP counts a request and has it answered.
func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	watch := isWatch(r)
	switch {
	case watch:
		c.watches.Add(1)
	case strings.HasSuffix(r.UserAgent(), "/release"):
		c.release.Add(1)
	default:
		c.other.Add(1)
	}
	ill, r, done := c.admit(r, watch)
	defer done()
	if ill != nil {
		ill(w, r, c.well)
		return
	}
	c.well.ServeHTTP(w, r)
}

// admit says how a request is treated, and has a watch end when the cluster falls ill.
func (c *cluster) admit(r *http.Request, watch bool) (ill Illness, out *http.Request, done func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !watch {
		return c.ill, r, func() {}
	}
	ctx, end := context.WithCancel(r.Context())
	c.begun++
	me := c.begun
	c.watching[me] = end
	return c.ill, r.WithContext(ctx), func() {
		end()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watching, me)
	}
}

func isWatch(r *http.Request) bool {
	watch := r.URL.Query().Get("watch")
	return watch == "true" || watch == "1"
}

// certificate makes a certificate for loopback that vouches for itself.
func certificate() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "front"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
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
