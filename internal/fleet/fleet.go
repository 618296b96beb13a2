// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

const (
	// defaultRetry is the time between two attempts to connect to a cluster.
	defaultRetry = 10 * time.Second
	// settle is how long a watched cluster gets after an event: what follows it is looked at
	// with it.
	settle = 200 * time.Millisecond
	// defaultConnectors is the number of clusters that are connected to at a time.
	defaultConnectors = 32
)

// Options configure a Fleet.
type Options struct {
	// Retry is the time between two attempts to connect; 0 means 10 seconds.
	Retry time.Duration
	// Connectors is the number of clusters connected to at a time; 0 means 32. One that does
	// not answer within a second does not count.
	Connectors int
	// Cached restricts what the caches of each cluster hold of a kind.
	Cached map[client.Object]ctrlcache.ByObject
	// SkipNameValidation lets several Fleets live in one test process.
	SkipNameValidation bool
}

// Fleet holds the connections to all clusters.
type Fleet struct {
	secrets client.Reader
	scheme  *runtime.Scheme
	codecs  *codecs
	cached  map[kindKey]ctrlcache.ByObject
	retry   time.Duration
	// slots has a place for each connection that may be made at a time.
	slots chan struct{}
	log   logr.Logger
	// ctx is the one of Setup.
	ctx context.Context //nolint:containedctx // connections end with it

	mu      sync.Mutex
	links   map[client.ObjectKey]*link
	queue   workqueue.TypedRateLimitingInterface[reconcile.Request]
	request func(cluster client.ObjectKey) []reconcile.Request
}

// Setup adds the connections to a manager; they end with ctx. The manager's scheme must have every
// kind that callers use in the clusters; its client must serve kubeconfig Secrets.
func Setup(ctx context.Context, mgr manager.Manager, o Options) (*Fleet, error) {
	if o.Retry == 0 {
		o.Retry = defaultRetry
	}
	if o.Connectors == 0 {
		o.Connectors = defaultConnectors
	}
	f := &Fleet{
		secrets: mgr.GetClient(), scheme: mgr.GetScheme(), retry: o.Retry, slots: make(chan struct{}, o.Connectors),
		log: mgr.GetLogger().WithName("fleet"), ctx: ctx, links: map[client.ObjectKey]*link{},
	}
	var err error
	if f.codecs, err = newCodecs(f.scheme); err != nil {
		return nil, err
	}
	if f.cached, err = restrictions(o.Cached, f.scheme); err != nil {
		return nil, err
	}
	l := &linker{clusters: mgr.GetClient(), fleet: f}
	if err := l.setup(mgr, o.SkipNameValidation); err != nil {
		return nil, fmt.Errorf("setting the connections to the clusters up: %w", err)
	}
	return f, nil
}

// Cluster is a connection to one cluster.
type Cluster struct {
	// Cached reads what is held of the cluster, which the first read of a kind begins. A kind
	// that the cluster does not serve is a "no match" of package meta.
	Cached client.Reader
	// Live reads and writes without a cache.
	Live client.Client
	// Config is a copy that the caller may change.
	Config *rest.Config
	// Server is the URL in the kubeconfig.
	Server string
}

// Connect returns the connection to a Cluster. It never waits for the cluster: when
// there is none, the error is a *Problem, and Source tells when that changes.
func (f *Fleet) Connect(ctx context.Context, cluster *clusterv1.Cluster) (*Cluster, error) {
	key := client.ObjectKeyFromObject(cluster)
	raw, server, err := f.kubeconfig(ctx, key)
	if err != nil {
		return nil, err
	}
	if !provisioned(cluster) {
		return nil, notProvisioned(key)
	}
	l := f.link(key)
	if l == nil {
		return nil, connecting(key, server)
	}
	c, failures := l.state()
	switch {
	case c == nil && failures == 0:
		return nil, connecting(key, server)
	case c != nil && c.kubeconfig != sha256.Sum256(raw):
		l.renew(c)
		return nil, connecting(key, server)
	case c == nil, failures >= failuresToTell:
		return nil, unreachable(key, server)
	}
	return &Cluster{Cached: c.mirror, Live: c.live, Config: rest.CopyConfig(c.config), Server: server}, nil
}

// link is the way to a cluster, nil while nobody has tried.
func (f *Fleet) link(key client.ObjectKey) *link {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.links[key]
}

// connected is the connection to a cluster, nil for none.
func (f *Fleet) connected(key client.ObjectKey) *connection {
	l := f.link(key)
	if l == nil {
		return nil
	}
	c, _ := l.state()
	return c
}

// Source enqueues a Cluster when its connection is made or lost, or its probes go unanswered
// or are answered again, and what Watch was told to. It is for one controller.
func (f *Fleet) Source(request func(cluster client.ObjectKey) []reconcile.Request) source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		f.mu.Lock()
		f.queue, f.request = queue, request
		there := slices.Collect(maps.Keys(f.links))
		f.mu.Unlock()
		for _, key := range there {
			f.tell(key)
		}
		return nil
	})
}

// Watch has the controller of Source reconcile request soon after every event of an object's
// kind in a cluster that passes the predicates. It is to be called on every reconcile: a watch is
// started once for each connection. The error is a *Problem when the connection was lost.
func (f *Fleet) Watch(cluster client.ObjectKey, request reconcile.Request, o client.Object, predicates ...predicate.Predicate) error {
	c := f.connected(cluster)
	f.mu.Lock()
	queue := f.queue
	f.mu.Unlock()
	if c == nil {
		return unreachable(cluster, "")
	}
	return c.mirror.watch(o, &listener{notify: func() { queue.AddAfter(request, settle) }, predicates: predicates})
}

// Renew drops the connection to a cluster and all that is held of it, and has it connected to
// anew: its API server has begun anew, and its watches tell of nothing.
func (f *Fleet) Renew(cluster client.ObjectKey) {
	l := f.link(cluster)
	if l == nil {
		return
	}
	if c, _ := l.state(); c != nil {
		l.renew(c)
	}
}

// Hurry has a cluster that is not connected be tried at once: it answers from now on.
func (f *Fleet) Hurry(cluster client.ObjectKey) {
	if l := f.link(cluster); l != nil {
		l.hurry()
	}
}

// IsKubeconfig says whether a Secret is a Cluster's kubeconfig, and of which Cluster.
func IsKubeconfig(s client.Object) (cluster client.ObjectKey, ok bool) {
	name := s.GetLabels()[clusterv1.ClusterNameLabel]
	if name == "" || s.GetName() != kubeconfigName(name) {
		return client.ObjectKey{}, false
	}
	return client.ObjectKey{Namespace: s.GetNamespace(), Name: name}, true
}

// HubSecrets restricts the management cluster's cache of Secrets to those that
// Cluster API labels as belonging to a Cluster.
func HubSecrets() (map[client.Object]ctrlcache.ByObject, error) {
	sel, err := labelExists(clusterv1.ClusterNameLabel)
	if err != nil {
		return nil, err
	}
	return map[client.Object]ctrlcache.ByObject{&corev1.Secret{}: {Label: sel, Transform: onlyKubeconfigs}}, nil
}

// Forget stops what Watch began of a kind in a cluster, before the kind itself goes: it would
// be asked for for ever.
func (f *Fleet) Forget(cluster client.ObjectKey, o client.Object) error {
	c := f.connected(cluster)
	if c == nil {
		return nil
	}
	return c.mirror.forget(o)
}
