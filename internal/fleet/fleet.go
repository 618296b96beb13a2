// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/controllers/clustercache"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/fairlead-io/fairlead/internal/version"
)

const (
	// probeInterval is the time between two probes of a connected cluster; the cache's own.
	probeInterval = 10 * time.Second
	// defaultRetry is the time between two attempts to connect to a cluster.
	defaultRetry = 10 * time.Second
	// reportProbeFailureAfter is how long a connected cluster may leave probes
	// unanswered before it is reported.
	reportProbeFailureAfter = 20 * time.Second
	// defaultConnectors is the number of clusters that are connected to, or probed, at a time. A
	// cluster that accepts connections and never answers holds one half of the time: this
	// many serve a fleet of 1,000 of which 300 hang.
	defaultConnectors = 256
	// settle is how long a watched cluster gets after an event: what follows it is looked at
	// with it.
	settle = 200 * time.Millisecond
	// qps and burst bound the requests to one cluster.
	qps   = 50
	burst = 100
)

// Options configure a Fleet.
type Options struct {
	// Retry is the time between two attempts to connect; 0 means 10 seconds.
	Retry time.Duration
	// Connectors is the number of clusters connected to at a time; 0 means 256.
	Connectors int
	// Cached restricts what is held of a kind in each cluster: by namespaces, labels, fields and
	// a transformation.
	Cached map[client.Object]ctrlcache.ByObject
	// SkipNameValidation lets several Fleets live in one test process.
	SkipNameValidation bool
}

// Fleet holds the connections to all clusters.
type Fleet struct {
	cache   clustercache.ClusterCache
	secrets client.Reader
	scheme  *runtime.Scheme
	cached  map[kindKey]ctrlcache.ByObject
	log     logr.Logger
	// ctx is the one of Setup.
	ctx context.Context //nolint:containedctx // connections end with it

	mu          sync.Mutex
	connections map[client.ObjectKey]*connection
	queue       workqueue.TypedRateLimitingInterface[reconcile.Request]
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
		secrets: mgr.GetClient(), scheme: mgr.GetScheme(), log: mgr.GetLogger().WithName("fleet"), ctx: ctx,
		connections: map[client.ObjectKey]*connection{},
	}
	var err error
	if f.cached, err = restrictions(o.Cached, f.scheme); err != nil {
		return nil, err
	}
	// It connects and probes. Its clients and informers are not used, for their size: see mirror.
	f.cache, err = clustercache.SetupWithManager(ctx, mgr, clustercache.Options{
		SecretClient: mgr.GetClient(),
		Client: clustercache.ClientOptions{
			UserAgent: "fairlead-operator/" + version.Version,
			QPS:       qps, Burst: burst,
		},
	}, controller.Options{MaxConcurrentReconciles: o.Connectors, SkipNameValidation: &o.SkipNameValidation})
	if err != nil {
		return nil, fmt.Errorf("setting the cluster cache up: %w", err)
	}
	// Its own interval of 30 s is a long time for a person who just corrected a
	// kubeconfig. Set before anything runs.
	if t, ok := f.cache.(interface{ SetConnectionCreationRetryInterval(time.Duration) }); ok {
		t.SetConnectionCreationRetryInterval(o.Retry)
	}
	// The clusters' caches have a context of their own, which nothing else ends.
	if c, ok := f.cache.(interface{ Shutdown() }); ok {
		context.AfterFunc(ctx, c.Shutdown)
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
	server, err := f.kubeconfigServer(ctx, key)
	if err != nil {
		return nil, err
	}
	if p := cluster.Status.Initialization.InfrastructureProvisioned; p == nil || !*p {
		return nil, notProvisioned(key)
	}
	health := f.cache.GetHealthCheckingState(ctx, key)
	raw, err := f.cache.GetRESTConfig(ctx, key)
	if errors.Is(err, clustercache.ErrClusterNotConnected) {
		if health.ConsecutiveFailures == 0 {
			return nil, connecting(key, server)
		}
		return nil, unreachable(key, server)
	}
	if err != nil {
		return nil, err
	}
	// One missed probe is noise; a second one means that requests would only hang. The
	// connection is given up after five, which sends an event; a probe that succeeds
	// before sends none.
	if health.ConsecutiveFailures > 1 {
		p := unreachable(key, server)
		p.Recheck = probeInterval
		return nil, p
	}
	c, err := f.connection(key, raw)
	if err != nil {
		return nil, err
	}
	return &Cluster{Cached: c.mirror, Live: c.live, Config: rest.CopyConfig(c.config), Server: server}, nil
}

// Source enqueues a Cluster when its connection is made or lost, or its probes go
// unanswered, and what Watch was told to. It is for one controller.
func (f *Fleet) Source(controllerName string, request func(cluster client.ObjectKey) []reconcile.Request) source.Source {
	connections := f.cache.GetClusterSource(controllerName, func(_ context.Context, o client.Object) []ctrl.Request {
		return request(client.ObjectKeyFromObject(o))
	}, clustercache.WatchForProbeFailure(reportProbeFailureAfter))
	return source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		f.mu.Lock()
		f.queue = queue
		f.mu.Unlock()
		return connections.Start(ctx, queue)
	})
}

// Watch has the controller of Source reconcile request soon after every event of an object's
// kind in a cluster that passes the predicates. It is to be called on every reconcile: a watch
// is started once for each connection. The error is a *Problem when the connection was lost.
func (f *Fleet) Watch(cluster client.ObjectKey, request reconcile.Request, o client.Object, predicates ...predicate.Predicate) error {
	f.mu.Lock()
	c, queue := f.connections[cluster], f.queue
	f.mu.Unlock()
	if c == nil {
		return unreachable(cluster, "")
	}
	return c.mirror.watch(o, &listener{notify: func() { queue.AddAfter(request, settle) }, predicates: predicates})
}

// Forget stops what Watch began of a kind in a cluster, before the kind itself goes: it would
// be asked for for ever.
func (f *Fleet) Forget(cluster client.ObjectKey, o client.Object) error {
	f.mu.Lock()
	c := f.connections[cluster]
	f.mu.Unlock()
	if c == nil {
		return nil
	}
	return c.mirror.forget(o)
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
