// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/cluster-api/controllers/clustercache"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
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
	// defaultConnectors is the number of clusters that are connected to at a time. A
	// cluster that accepts connections and never answers holds one for seconds.
	defaultConnectors = 32
	// qps and burst bound the requests to one cluster.
	qps   = 50
	burst = 100
)

// Options configure a Fleet.
type Options struct {
	// Retry is the time between two attempts to connect; 0 means 10 seconds.
	Retry time.Duration
	// Connectors is the number of clusters connected to at a time; 0 means 32.
	Connectors int
	// Cached restricts what the caches of each cluster hold of a kind.
	Cached map[client.Object]ctrlcache.ByObject
	// SkipNameValidation lets several Fleets live in one test process.
	SkipNameValidation bool
}

// Fleet holds the connections to all clusters.
type Fleet struct {
	cache   clustercache.ClusterCache
	secrets client.Reader
	renewed renewals
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
	cache, err := clustercache.SetupWithManager(ctx, mgr, clustercache.Options{
		SecretClient: mgr.GetClient(),
		Cache:        clustercache.CacheOptions{ByObject: o.Cached, DefaultTransform: ctrlcache.TransformStripManagedFields()},
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
	if t, ok := cache.(interface{ SetConnectionCreationRetryInterval(time.Duration) }); ok {
		t.SetConnectionCreationRetryInterval(o.Retry)
	}
	// The clusters' caches have a context of their own, which nothing else ends.
	if c, ok := cache.(interface{ Shutdown() }); ok {
		context.AfterFunc(ctx, c.Shutdown)
	}
	return &Fleet{cache: cache, secrets: mgr.GetClient()}, nil
}

// Cluster is a connection to one cluster.
type Cluster struct {
	// Cached reads from informers, which the first read of a kind starts.
	Cached client.Client
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
	cached, err := f.cache.GetClient(ctx, key)
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
	live, err := f.cache.GetUncachedClient(ctx, key)
	if err != nil {
		return nil, lost(err, key, server)
	}
	cfg, err := f.cache.GetRESTConfig(ctx, key)
	if err != nil {
		return nil, lost(err, key, server)
	}
	return &Cluster{Cached: cached, Live: live, Config: rest.CopyConfig(cfg), Server: server}, nil
}

// lost turns the error of a connection that went away between two calls into a Problem.
func lost(err error, key client.ObjectKey, server string) error {
	if errors.Is(err, clustercache.ErrClusterNotConnected) {
		return unreachable(key, server)
	}
	return err
}

// Source enqueues a Cluster when its connection is made or lost, or its probes go
// unanswered.
func (f *Fleet) Source(controllerName string, request func(cluster client.ObjectKey) []reconcile.Request) source.Source {
	return f.cache.GetClusterSource(controllerName, func(_ context.Context, o client.Object) []ctrl.Request {
		return request(client.ObjectKeyFromObject(o))
	}, clustercache.WatchForProbeFailure(reportProbeFailureAfter))
}

// Watch is a watch on one kind in a cluster.
type Watch struct {
	// Name is unique in a cluster.
	Name       string
	Object     client.Object
	Predicates []predicate.Predicate
}

// Starter is the controller that a watch feeds.
type Starter interface {
	Watch(source.Source) error
}

// Watch has a controller reconcile request for every event of a kind in a cluster.
// It is to be called on every reconcile: a watch is started once for each
// connection. The error is a *Problem when the connection was lost.
func (f *Fleet) Watch(ctx context.Context, cluster client.ObjectKey, c Starter, request reconcile.Request, w Watch) error {
	err := f.cache.Watch(ctx, cluster, clustercache.NewWatcher(clustercache.WatcherOptions{
		Name:    f.renewed.name(cluster, w),
		Watcher: c,
		Kind:    w.Object,
		EventHandler: handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
			return []reconcile.Request{request}
		}),
		Predicates: w.Predicates,
	}))
	return lost(err, cluster, "")
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

// Forget stops the informer of a kind in a cluster, before the kind itself goes:
// its informer would go on asking for it for ever. name is unique in a cluster.
func (f *Fleet) Forget(ctx context.Context, cluster client.ObjectKey, name string, o client.Object) error {
	return lost(f.cache.Watch(ctx, cluster, forgetter{ctx: ctx, name: name, object: o}), cluster, "")
}

// forgetter uses the one way that the cluster cache hands out a cluster's informers.
type forgetter struct {
	ctx    context.Context //nolint:containedctx // it lives for one call of Forget
	name   string
	object client.Object
}

func (w forgetter) Name() string          { return w.name }
func (w forgetter) Object() client.Object { return w.object }
func (w forgetter) Watch(c ctrlcache.Cache) error {
	return c.RemoveInformer(w.ctx, w.object)
}
