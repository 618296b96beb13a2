// SPDX-License-Identifier: Apache-2.0

package shared

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/fairlead/test/scale/front"
)

// Fleet is many clusters in one API server, each at an address of its own.
type Fleet struct {
	*front.Front
	clusters []*cluster
	player   *player
}

// Start presents the API server at real as clusters, each with nodes, which it creates. What
// controllers and agents would do in them is done until ctx ends.
func Start(ctx context.Context, real *rest.Config, clusters, nodes int) (*Fleet, error) {
	target, err := url.Parse(real.Host)
	if err != nil {
		return nil, fmt.Errorf("the API server's address: %w", err)
	}
	f := &Fleet{}
	for i := range clusters {
		c, err := newCluster(real, target, Name(i))
		if err != nil {
			return nil, err
		}
		f.clusters = append(f.clusters, c)
	}
	if f.player, err = play(ctx, real, clusters, nodes); err != nil {
		return nil, err
	}
	f.Front, err = front.Start(f.clusters)
	return f, err
}

// Name is what a cluster is called in the real API server.
func Name(i int) string { return fmt.Sprintf("c%04d", i) }

// Mark is what a cluster's namespaces, and its objects without one, end in in the real API
// server.
func Mark(i int) string { return view{Name(i)}.mark() }

// Fault is what went wrong behind the addresses so far: requests that could not be mapped,
// and what the played controllers failed at. Nil means that what was measured is sound.
func (f *Fleet) Fault() error {
	errs := []error{f.player.fault()}
	for _, c := range f.clusters {
		errs = append(errs, c.fault())
	}
	return errors.Join(errs...)
}

// cluster is one cluster's part of the real API server.
type cluster struct {
	view  view
	proxy *httputil.ReverseProxy

	mu      sync.Mutex
	refused []error
}

// newCluster has a connection of its own, as an operator has to every cluster.
func newCluster(real *rest.Config, target *url.URL, name string) (*cluster, error) {
	secure, err := rest.TLSConfigFor(real)
	if err != nil {
		return nil, err
	}
	c := &cluster{view: view{name}}
	c.proxy = &httputil.ReverseProxy{
		Transport: &http.Transport{TLSClientConfig: secure, ForceAttemptHTTP2: true, DisableCompression: true, TLSHandshakeTimeout: 10 * time.Second},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Del("Authorization")
			r.Out.Header.Del("Accept-Encoding")
		},
		FlushInterval: -1, // watches
		ModifyResponse: func(r *http.Response) error {
			r.Body = unmark(r.Body, c.view.mark())
			r.ContentLength = -1
			r.Header.Del("Content-Length")
			return nil
		},
		ErrorLog: log.New(io.Discard, "", 0),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				c.refuse(w, r, http.StatusBadGateway, err)
			}
		},
	}
	return c, nil
}

// ServeHTTP has the real API server answer.
func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = r.Clone(r.Context())
	where, err := c.view.place(r.URL)
	if err != nil {
		c.refuse(w, r, http.StatusNotImplemented, err)
		return
	}
	if where.objects {
		r.Header.Set("Accept", accepted(strings.Join(r.Header.Values("Accept"), ",")))
	}
	if r.Body != nil && r.Method != http.MethodGet {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return // who asked is gone
		}
		if raw, err = c.view.body(r.Header.Get("Content-Type"), raw, where.own); err != nil {
			c.refuse(w, r, http.StatusUnsupportedMediaType, err)
			return
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
		r.Header.Del("Content-Length")
	}
	c.proxy.ServeHTTP(w, r)
}

func (c *cluster) refuse(w http.ResponseWriter, r *http.Request, code int, err error) {
	c.mu.Lock()
	c.refused = append(c.refused, fmt.Errorf("cluster %s: %s %s: %w", c.view.cluster, r.Method, r.URL.Path, err))
	c.mu.Unlock()
	front.Refuse(w, code, metav1.StatusReasonInternalError, err.Error())
}

func (c *cluster) fault() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.refused...)
}
