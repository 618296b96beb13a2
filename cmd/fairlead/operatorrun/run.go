// SPDX-License-Identifier: Apache-2.0

// Package operatorrun puts the fleet's operator together: the manager with its
// caches and its lease, the connections to the clusters, and the two controllers.
// It owns the wiring and decides nothing else.
package operatorrun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/charts"
	"github.com/fairlead-io/fairlead/controllers/clusterstack"
	"github.com/fairlead-io/fairlead/controllers/networkstack"
	"github.com/fairlead-io/fairlead/internal/fleet"
	"github.com/fairlead-io/fairlead/internal/fleetmetrics"
	"github.com/fairlead-io/fairlead/internal/notify"
	"github.com/fairlead-io/fairlead/internal/release"
	"github.com/fairlead-io/fairlead/internal/stack"
	"github.com/fairlead-io/fairlead/internal/trust"
	"github.com/fairlead-io/fairlead/internal/version"
)

// leaseName is the name of the lease that the acting operator holds.
const leaseName = "fairlead-operator"

// grace is what a Helm action under way gets to end when the operator stops; one
// that is cut off is healed by the next operator.
const grace = 20 * time.Second

// Config is what an operator is started with.
type Config struct {
	// Kube is the management cluster's API server.
	Kube *rest.Config
	// HealthAddress and MetricsAddress are host:port; "0" serves nothing.
	HealthAddress, MetricsAddress string
	LeaderElection                bool
	// LeaderElectionNamespace is needed outside of a pod only.
	LeaderElectionNamespace string
	// Namespaces that are served; none means all.
	Namespaces []string
	// ImageRepository is where clusters pull Fairlead's image from, without a tag.
	ImageRepository string
	// StackConcurrency and ClusterConcurrency are objects worked on at a time,
	// Connectors the clusters connected to at a time.
	StackConcurrency, ClusterConcurrency, Connectors int
	// Events says where CloudEvents of rollouts go; no sink, no events.
	Events notify.Options
	// MetricsClusters is how many clusters have metrics of their own.
	MetricsClusters int
	// ReconnectInterval is the time between two attempts to connect to a cluster.
	ReconnectInterval time.Duration
	// Chart is the cni chart of the operator's own version; nil is the embedded one.
	Chart *release.Chart
	// HooksAddress is where Cluster API's hooks are answered, host:port; "" or "0" is nowhere.
	HooksAddress string
	// HooksName is the name of the ExtensionConfig by which Cluster API finds the operator.
	HooksName string
	// HooksHosts are the names and addresses that callers of the hooks use.
	HooksHosts []string
	// ChartDir is a folder with cni charts of other versions; empty is none.
	ChartDir string
	// SkipNameValidation lets several operators live in one test process.
	SkipNameValidation bool
	Log                *slog.Logger
}

// Validate names every field that is wrong, as the flag that sets it.
func (c *Config) Validate() error {
	var errs []error
	if c.ImageRepository == "" {
		errs = append(errs, errors.New("--image-repository is empty; set it to the repository of Fairlead's image"))
	}
	for _, f := range []struct {
		flag  string
		value int
	}{{"--stack-concurrency", c.StackConcurrency}, {"--cluster-concurrency", c.ClusterConcurrency}, {"--connectors", c.Connectors}} {
		if f.value < 1 {
			errs = append(errs, fmt.Errorf("%s is %d; set it to at least 1", f.flag, f.value))
		}
	}
	if c.ChartDir != "" {
		if info, err := os.Stat(c.ChartDir); err != nil || !info.IsDir() {
			errs = append(errs, fmt.Errorf("--chart-dir %s is no folder that can be read; mount one there, or leave the flag out", c.ChartDir))
		}
	}
	if c.answersHooks() && len(c.HooksHosts) == 0 {
		errs = append(errs, errors.New("--hooks-host is not set; name the operator's Service (fairlead-operator-hooks.NAMESPACE.svc), or the address in the ExtensionConfig"))
	}
	if c.ReconnectInterval < time.Second {
		errs = append(errs, fmt.Errorf("--reconnect-interval is %s; set it to at least 1s", c.ReconnectInterval))
	}
	return errors.Join(errs...)
}

// Run serves the fleet until ctx ends.
func Run(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	logger := logr.FromSlogHandler(c.Log.Handler())
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	limitMemory(c.Log)
	mgr, err := New(ctx, c)
	if err != nil {
		return err
	}
	c.Log.Info("starting", "version", version.Version, "namespaces", c.Namespaces)
	return mgr.Start(ctx)
}

// New makes the manager with everything in it.
func New(ctx context.Context, c Config) (ctrl.Manager, error) {
	chart, err := c.Chart, error(nil)
	if chart == nil {
		if chart, err = release.LoadChart(charts.CNI, charts.CNIRoot); err != nil {
			return nil, err
		}
	}
	mgr, err := newManager(c)
	if err != nil {
		return nil, err
	}
	connections, err := fleet.Setup(ctx, mgr, fleet.Options{
		Retry: c.ReconnectInterval, Connectors: c.Connectors, Cached: clusterstack.CachedObjects(),
		SkipNameValidation: c.SkipNameValidation,
	})
	if err != nil {
		return nil, err
	}
	catalogue := release.NewCatalogue(version.Version, chart, c.ChartDir, c.Log)
	notifier, err := newNotifier(mgr, c)
	if err != nil {
		return nil, err
	}
	if err := fleetmetrics.Setup(mgr, metrics.Registry, c.MetricsClusters); err != nil {
		return nil, err
	}
	stacks := &networkstack.Reconciler{
		Notifier: notifier,
		Client:   mgr.GetClient(), Live: mgr.GetAPIReader(), Events: mgr.GetEventRecorder("fairlead-operator"), Now: time.Now, Concurrency: c.StackConcurrency,
		Versions: func() stack.Versions { return versions(catalogue) },
	}
	clusters := &clusterstack.Reconciler{
		Client:          mgr.GetClient(),
		Events:          mgr.GetEventRecorder("fairlead-operator"),
		Fleet:           connections,
		Roots:           &trust.Store{Reader: mgr.GetAPIReader(), Writer: mgr.GetClient(), Now: time.Now},
		Charts:          catalogue,
		ImageRepository: c.ImageRepository,
		Discovery:       &release.Discovery{},
		Now:             time.Now,
		Concurrency:     c.ClusterConcurrency,
	}
	return mgr, errors.Join(
		stacks.SetupWithManager(mgr),
		clusters.SetupWithManager(mgr),
		addBirth(mgr, &c, connections, stacks.Versions),
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("caches", func(r *http.Request) error {
			ctx, cancel := context.WithTimeout(r.Context(), time.Second)
			defer cancel()
			if !mgr.GetCache().WaitForCacheSync(ctx) {
				return errors.New("the management cluster's objects have not been read yet; is its API server reachable, and are Cluster API's and Fairlead's CRDs installed?")
			}
			return nil
		}),
	)
}

// newNotifier adds the sender of CloudEvents to the manager, nil when they have no sink.
func newNotifier(mgr ctrl.Manager, c Config) (*notify.Notifier, error) {
	if c.Events.Sink == "" {
		return nil, nil
	}
	c.Events.Log = c.Log
	n, err := notify.New(c.Events)
	if err != nil {
		return nil, err
	}
	return n, errors.Join(mgr.Add(n), metrics.Registry.Register(n.Collector()))
}

// versions are those that there is a chart of, and what they need of clusters.
func versions(catalogue *release.Catalogue) stack.Versions {
	v := stack.Versions{Own: version.Version, Available: catalogue.Versions(), Requires: map[string]stack.Requirements{}}
	for _, name := range v.Available {
		kubernetes, kernel := catalogue.Requires(name)
		v.Requires[name] = stack.Requirements{Kubernetes: kubernetes, Kernel: kernel}
	}
	return v
}

func newManager(c Config) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, apiextensionsv1.AddToScheme, clusterv1.AddToScheme, v1alpha1.AddToScheme,
	} {
		utilruntime.Must(add(scheme))
	}
	byObject, err := fleet.HubSecrets()
	if err != nil {
		return nil, err
	}
	options := cache.Options{ByObject: byObject, DefaultTransform: cache.TransformStripManagedFields()}
	for _, ns := range c.Namespaces {
		if options.DefaultNamespaces == nil {
			options.DefaultNamespaces = map[string]cache.Config{}
		}
		options.DefaultNamespaces[ns] = cache.Config{}
	}
	kube := rest.CopyConfig(c.Kube)
	kube.QPS, kube.Burst = 100, 200 // two writes a cluster and change, over a fleet of a thousand
	wait := grace
	skip := c.SkipNameValidation
	// The priority queue can block for ever when it is shut down while work arrives
	// (its lock is held across a send), which would cost every stop the whole grace.
	priorities := false
	return ctrl.NewManager(kube, ctrl.Options{
		Scheme:                  scheme,
		Logger:                  logr.FromSlogHandler(c.Log.Handler()),
		Cache:                   options,
		Client:                  client.Options{},
		HealthProbeBindAddress:  c.HealthAddress,
		Metrics:                 metricsserver.Options{BindAddress: c.MetricsAddress},
		LeaderElection:          c.LeaderElection,
		LeaderElectionID:        leaseName,
		LeaderElectionNamespace: c.LeaderElectionNamespace,
		// A successor need not wait for the lease to run out: Run returns right after
		// the manager has stopped.
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &wait,
		Controller:                    config.Controller{SkipNameValidation: &skip, UsePriorityQueue: &priorities},
	})
}
