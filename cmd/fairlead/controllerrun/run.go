// SPDX-License-Identifier: Apache-2.0

// Package controllerrun puts a cluster's controller together: the watches of the
// API server, the model, the xDS server, enrollment, and the health endpoints. It
// owns the wiring and the order of starting and stopping, and decides nothing else.
package controllerrun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/fairlead-io/fairlead/controllers/controllerslice"
	"github.com/fairlead-io/fairlead/controllers/endpointslice"
	"github.com/fairlead-io/fairlead/controllers/node"
	"github.com/fairlead-io/fairlead/controllers/nodenetwork"
	"github.com/fairlead-io/fairlead/controllers/pod"
	"github.com/fairlead-io/fairlead/controllers/service"
	"github.com/fairlead-io/fairlead/internal/enroll"
	"github.com/fairlead-io/fairlead/internal/interest"
	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

// grace is what open streams get to end when the controller stops.
const grace = 3 * time.Second

// Config is what a controller is started with.
type Config struct {
	// Listen is the xDS server's address, Health that of /healthz, /readyz and /metrics.
	Listen, Health string
	// CADir holds tls.crt, tls.key and ca.crt of Secret fairlead-cluster-ca, and the key
	// revoked of ConfigMap fairlead-trust, which may be missing.
	CADir       string
	ClusterName string
	// ClusterPodCIDRs are all ranges that pods of the cluster may have.
	ClusterPodCIDRs []string
	// Services: the agents balance them, so Services and their endpoints are served, and those
	// of type LoadBalancer get addresses from AddressPools.
	Services bool
	// Namespace and PodName are the controller's own.
	Namespace, PodName string
	// Kube is the API server and how to speak to it.
	Kube *rest.Config
	Log  *slog.Logger
	// Metrics takes and shows the metrics; nil is controller-runtime's registry.
	Metrics metrics.RegistererGatherer
}

// Validate names every field that is missing.
func (c *Config) Validate() error {
	var errs []error
	for _, f := range []struct{ flag, value string }{
		{"--listen", c.Listen}, {"--health", c.Health}, {"--ca-dir", c.CADir},
		{"--cluster-name", c.ClusterName}, {"--namespace", c.Namespace}, {"--pod-name (or POD_NAME)", c.PodName},
	} {
		if f.value == "" {
			errs = append(errs, fmt.Errorf("%s is empty; set it", f.flag))
		}
	}
	return errors.Join(errs...)
}

// Run serves the cluster until ctx ends. It waits for an API server that is away.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if cfg.Metrics == nil {
		cfg.Metrics = metrics.Registry
	}
	ctrl.SetLogger(logr.FromSlogHandler(cfg.Log.Handler()))
	authority, err := enroll.NewAuthority(cfg.CADir, cfg.ClusterName, cfg.Log)
	if err != nil {
		return err
	}
	xds, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("the xDS server cannot listen (flag --listen): %w", err)
	}
	health, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Health)
	if err != nil {
		return errors.Join(fmt.Errorf("the health server cannot listen (flag --health): %w", err), xds.Close())
	}
	mgr, err := newManager(cfg)
	if err != nil {
		return errors.Join(err, xds.Close(), health.Close())
	}
	silent := unanswered(cfg)
	store := serve.NewStore(served(silent)...)
	feed := interest.New(store, cfg.Metrics, cfg.Log)
	reports := nodenetwork.New(nodenetwork.Config{
		Client: mgr.GetClient(), Self: cfg.PodName, Namespace: cfg.Namespace, IsController: isController(cfg.Namespace), Services: cfg.Services,
	})
	if err := addControllers(ctx, cfg, mgr, store, feed, reports, authority, xds.Addr()); err != nil {
		return errors.Join(err, xds.Close(), health.Close())
	}
	server := serve.NewServer(store, authenticate(cfg.ClusterName), reports, serve.Options{Unanswered: silent, Optional: []string{state.PolicyType}}, cfg.Metrics, cfg.Log)
	g := grpc.NewServer(serve.GRPCOptions(authority.Credentials())...)
	server.Register(g)
	state.RegisterEnrollmentServer(g, enroll.NewService(authority, enroll.TokenReviewer{Client: mgr.GetClient()},
		"system:serviceaccount:"+cfg.Namespace+":fairlead-agent", cfg.Metrics, cfg.Log))
	state.RegisterPodAddressesServer(g, interest.NewRegistrar(feed, authenticate(cfg.ClusterName)))

	cfg.Log.Info("starting", "cluster", cfg.ClusterName, "pod", cfg.PodName, "listen", xds.Addr().String(), "health", health.Addr().String())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serveHealth(ctx, health, store, cfg.Metrics) })
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	context.AfterFunc(ctx, func() {
		reports.Stop() // first: agents that are sent to another replica are not lost
		stopServing()
	})
	group.Go(func() error { authority.Watch(ctx); return nil })
	group.Go(func() error { return server.Run(serving, g, xds, grace) })
	group.Go(func() error { return mgr.Start(ctx) })
	return group.Wait()
}

// served are the types of the store: policies first, since no pod is connected before they
// are known.
func served(silent []string) []string {
	types := []string{state.PolicyType}
	for _, t := range state.AgentTypes {
		if t != state.PolicyType && !slices.Contains(silent, t) {
			types = append(types, t)
		}
	}
	return types
}

// unanswered are the types of Services where these are kube-proxy's: an agent that balances
// them still, because it has not been replaced yet, goes on with what it holds.
func unanswered(cfg Config) []string {
	if cfg.Services {
		return nil
	}
	return []string{state.ServiceType, state.ServiceEndpointsType}
}

// authenticate reads a subscriber's node from its client certificate.
func authenticate(cluster string) serve.Authenticate {
	return func(ctx context.Context) (serve.Peer, error) {
		name, err := enroll.NodeOf(ctx, cluster)
		return serve.Peer{Node: name}, err
	}
}

// addControllers adds the reconcilers and, once their caches are filled, the
// store's first content. Before that nothing is served.
func addControllers(ctx context.Context, cfg Config, mgr manager.Manager, store *serve.Store, feed *interest.Feed, reports *nodenetwork.Reconciler, authority *enroll.Authority, xds net.Addr) error {
	tcp, ok := xds.(*net.TCPAddr)
	if !ok {
		return fmt.Errorf("flag --listen: %s is no TCP address", xds)
	}
	recorder := mgr.GetEventRecorder("fairlead-controller")
	services := &service.Reconciler{Client: mgr.GetClient(), Store: store, Events: recorder}
	endpoints := &endpointslice.Reconciler{Client: mgr.GetClient(), Store: store, Events: recorder}
	nodes := &node.Reconciler{Client: mgr.GetClient(), Store: store, ClusterPodCIDRs: cfg.ClusterPodCIDRs, Built: func(m model.Nodes) {
		reports.SetModel(m)
		feed.SetRanges(m.PodCIDRs)
		if cfg.Services {
			services.SetNetwork(ctx, m.Addresses, m.Ranges)
		}
	}}
	pods := &pod.Reconciler{Client: mgr.GetClient(), Store: store}
	slice := &controllerslice.Reconciler{Client: mgr.GetClient(), Namespace: cfg.Namespace, Port: int32(tcp.Port)}
	syncAnnouncements, err := addPools(ctx, cfg, mgr, store, authority)
	syncPolicies, policyErr := addPolicies(cfg, mgr, feed)
	balanced := []error{err, policyErr}
	if cfg.Services {
		balanced = append(balanced, services.SetupWithManager(mgr), endpoints.SetupWithManager(mgr))
	}
	return errors.Join(append(balanced,
		nodes.SetupWithManager(mgr),
		pods.SetupWithManager(ctx, mgr),
		slice.SetupWithManager(mgr),
		reports.SetupWithManager(mgr),
		mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
			if !mgr.GetCache().WaitForCacheSync(ctx) {
				return nil // stopping
			}
			if err := nodes.Sync(ctx); err != nil {
				return err
			}
			if err := pods.SyncAll(ctx); err != nil {
				return err
			}
			if cfg.Services {
				// Endpoints first: a Service is never served without those that it has.
				if err := errors.Join(endpoints.SyncAll(ctx), services.SyncAll(ctx)); err != nil {
					return err
				}
			}
			if err := syncPolicies(ctx); err != nil {
				return err
			}
			if err := syncAnnouncements(ctx); err != nil {
				return err
			}
			store.SetReady()
			reports.Serving()
			cfg.Log.Info("serving: the cluster's state is complete")
			return nil
		})),
	)...)
}

// serveHealth answers /healthz while the process runs, /readyz once the store is
// complete, and /metrics.
func serveHealth(ctx context.Context, l net.Listener, store *serve.Store, m metrics.RegistererGatherer) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !store.Ready() {
			http.Error(w, "the cluster's state has not been read yet; is the API server reachable?", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(m, promhttp.HandlerOpts{}))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("the health server ended: %w", err)
	}
	return nil
}
