// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	runtimecatalog "sigs.k8s.io/cluster-api/api/runtime/catalog"
	runtimehooksv1 "sigs.k8s.io/cluster-api/api/runtime/hooks/v1alpha1"
	runtimev1 "sigs.k8s.io/cluster-api/api/runtime/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// callers is how many Clusters Cluster API works on at a time unless told otherwise
	// (--clustertopology-concurrency).
	callers = 50
	// creators is how many Clusters are created at a time.
	creators = 8
	// hookTimeout is how long it waits for an answer.
	hookTimeout = 10 * time.Second
	// firstBackoff and lastBackoff are its times after failures, as of its work queue.
	firstBackoff = 5 * time.Millisecond
	lastBackoff  = 10 * time.Second
)

// caller calls hooks as Cluster API's core manager does: over HTTPS, as many at a time, with
// Clusters as its cache has them, again when it is told to and after failures.
type caller struct {
	catalog *runtimecatalog.Catalog
	// clusters is a cache of Clusters, which is behind now and then.
	clusters cache.Cache
	// appeared has a channel for each name, closed when the cache has the Cluster.
	appeared sync.Map
	http     *http.Client
	// name of the hook BeforeClusterCreate, as the operator tells it.
	name string
	// replicas are addresses, which are called in turn.
	replicas []string
	free     chan struct{}
	calls    atomic.Int64
	failures atomic.Int64
}

// caller finds the operator's hooks by its ExtensionConfig; replicas are all that serve them.
func (h *hub) caller(replicas ...string) *caller {
	h.t.Helper()
	c := &caller{catalog: runtimecatalog.New(), replicas: replicas, free: make(chan struct{}, callers)}
	h.must(runtimehooksv1.AddToCatalog(c.catalog))
	h.watch(c)
	roots := x509.NewCertPool()
	h.eventually("the operator says how to verify it", func() string {
		e := &runtimev1.ExtensionConfig{}
		h.must(h.client.Get(h.t.Context(), client.ObjectKey{Name: "fairlead"}, e))
		if roots.AppendCertsFromPEM(e.Spec.ClientConfig.CABundle) {
			return ""
		}
		return "it does not"
	})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: callers}
	c.http = &http.Client{Transport: transport, Timeout: hookTimeout}
	h.t.Cleanup(transport.CloseIdleConnections)
	for _, address := range replicas {
		h.eventually(address+" tells its hooks", func() string {
			name, err := c.discover(h.t.Context(), address)
			if err != nil {
				return err.Error()
			}
			c.name = name
			return ""
		})
	}
	return c
}

// watch gives a caller its cache of Clusters.
func (h *hub) watch(c *caller) {
	h.t.Helper()
	var err error
	c.clusters, err = cache.New(h.server.Config, cache.Options{Scheme: h.client.Scheme(), DefaultNamespaces: map[string]cache.Config{namespace: {}}})
	h.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.clusters.Start(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			h.t.Error(err)
		}
	})
	informer, err := c.clusters.GetInformer(h.t.Context(), &clusterv1.Cluster{})
	h.must(err)
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: func(o any) {
		if cluster, ok := o.(*clusterv1.Cluster); ok {
			close(c.appears(cluster.Name))
		}
	}})
	h.must(err)
}

// appears is a channel that is closed when the cache has a Cluster.
func (c *caller) appears(name string) chan struct{} {
	ch, _ := c.appeared.LoadOrStore(name, make(chan struct{}))
	return ch.(chan struct{}) //nolint:forcetypeassert // nothing else is stored
}

// discover asks a replica for the name of its hook BeforeClusterCreate.
func (c *caller) discover(ctx context.Context, address string) (string, error) {
	gvh, err := c.catalog.GroupVersionHook(runtimehooksv1.Discovery)
	if err != nil {
		return "", err
	}
	said := &runtimehooksv1.DiscoveryResponse{}
	if err := c.post(ctx, address, gvh, "", &runtimehooksv1.DiscoveryRequest{}, said); err != nil {
		return "", err
	}
	at := slices.IndexFunc(said.Handlers, func(x runtimehooksv1.ExtensionHandler) bool {
		return x.RequestHook.Hook == "BeforeClusterCreate"
	})
	if at < 0 {
		return "", fmt.Errorf("%d handlers, none for BeforeClusterCreate", len(said.Handlers))
	}
	return said.Handlers[at].Name, nil
}

func (c *caller) post(ctx context.Context, address string, hook runtimecatalog.GroupVersionHook, name string, request runtime.Object, response any) error {
	gvk, err := c.catalog.Request(hook)
	if err != nil {
		return err
	}
	request.GetObjectKind().SetGroupVersionKind(gvk)
	raw, err := json.Marshal(request)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+runtimecatalog.GVHToPath(hook, name), bytes.NewReader(raw))
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	return json.Unmarshal(body, response)
}

// bear creates Clusters, and calls BeforeClusterCreate for each as soon as it is there until it may
// be created. It returns how long each took from its creation on.
func (c *caller) bear(ctx context.Context, api client.Client, clusters []*clusterv1.Cluster) ([]time.Duration, error) {
	took, errs := make([]time.Duration, len(clusters)), make([]error, len(clusters))
	var all errgroup.Group
	var births sync.WaitGroup
	all.SetLimit(creators)
	for i, cluster := range clusters {
		all.Go(func() error {
			if err := api.Create(ctx, cluster); err != nil {
				return err
			}
			births.Go(func() { took[i], errs[i] = c.one(ctx, i, cluster) })
			return nil
		})
	}
	err := all.Wait()
	births.Wait()
	return took, errors.Join(append(errs, err)...)
}

func (c *caller) one(ctx context.Context, turn int, cluster *clusterv1.Cluster) (time.Duration, error) {
	created, backoff := time.Now(), firstBackoff
	select {
	case <-c.appears(cluster.Name):
	case <-ctx.Done():
		return 0, fmt.Errorf("cluster %s is not seen: %w", cluster.Name, context.Cause(ctx))
	}
	for {
		c.free <- struct{}{}
		held, err := c.ask(ctx, c.replicas[turn%len(c.replicas)], cluster)
		<-c.free
		turn++
		wait := held.wait
		switch {
		case err != nil:
			c.failures.Add(1)
			held.why = err.Error()
			wait, backoff = backoff, min(2*backoff, lastBackoff)
		case wait == 0 && bornOf(held.seen).complete() != nil:
			return 0, fmt.Errorf("cluster %s may be made before Cluster API has seen its addresses: its copy has %v", cluster.Name, bornOf(held.seen).ranges())
		case wait == 0:
			return time.Since(created), nil
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return 0, fmt.Errorf("cluster %s is not born: %w; it is held: %s", cluster.Name, context.Cause(ctx), held.why)
		}
	}
}

// hold is how long a Cluster's creation is to be held, and why; 0 is not.
type hold struct {
	wait time.Duration
	why  string
	// seen is the Cluster that was sent.
	seen *clusterv1.Cluster
}

// ask makes one call.
func (c *caller) ask(ctx context.Context, address string, cluster *clusterv1.Cluster) (hold, error) {
	gvh, err := c.catalog.GroupVersionHook(runtimehooksv1.BeforeClusterCreate)
	if err != nil {
		return hold{}, err
	}
	seen := &clusterv1.Cluster{}
	if err := c.clusters.Get(ctx, client.ObjectKeyFromObject(cluster), seen); err != nil {
		return hold{}, err
	}
	c.calls.Add(1)
	said := &runtimehooksv1.BeforeClusterCreateResponse{}
	if err := c.post(ctx, address, gvh, c.name, &runtimehooksv1.BeforeClusterCreateRequest{Cluster: *seen}, said); err != nil {
		return hold{}, err
	}
	if said.Status != runtimehooksv1.ResponseStatusSuccess {
		return hold{}, errors.New(said.Message)
	}
	return hold{time.Duration(said.RetryAfterSeconds) * time.Second, said.Message, seen}, nil
}
