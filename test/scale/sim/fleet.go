// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"k8s.io/client-go/rest"

	"github.com/fairlead-io/fairlead/test/scale/front"
)

// Fleet is many clusters, each at an address of its own.
type Fleet struct {
	*front.Front
	Clusters []*Cluster
}

// Start starts clusters, each with nodes. What they serve is asked of the API server at like.
func Start(like *rest.Config, clusters, nodes int) (*Fleet, error) {
	client, err := rest.HTTPClientFor(like)
	if err != nil {
		return nil, err
	}
	f := &Fleet{}
	k := &known{client: client, host: strings.TrimSuffix(like.Host, "/"), pages: map[string]page{}}
	for range clusters {
		c := &Cluster{store: newStore(), nodes: nodes, known: k}
		c.store.changed = c.played
		c.begin()
		f.Clusters = append(f.Clusters, c)
	}
	f.Front, err = front.Start(f.Clusters)
	return f, err
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
