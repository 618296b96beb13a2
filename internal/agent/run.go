// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/fairlead/internal/agent/announce"
	"github.com/fairlead-io/fairlead/internal/agent/cniserver"
	"github.com/fairlead-io/fairlead/internal/agent/discovery"
	"github.com/fairlead-io/fairlead/internal/agent/drop"
	"github.com/fairlead-io/fairlead/internal/agent/endpoint"
	"github.com/fairlead-io/fairlead/internal/agent/node"
	"github.com/fairlead-io/fairlead/internal/agent/pathmtu"
	"github.com/fairlead-io/fairlead/internal/agent/readiness"
	"github.com/fairlead-io/fairlead/internal/agent/service"
	"github.com/fairlead-io/fairlead/internal/agent/servicehealth"
	agentsync "github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/cniapi"
	"github.com/fairlead-io/fairlead/internal/datapath"
	"github.com/fairlead-io/fairlead/internal/datapath/kubeproxy"
	"github.com/fairlead-io/fairlead/internal/datapath/netns"
	"github.com/fairlead-io/fairlead/internal/datapath/watch"
	"github.com/fairlead-io/fairlead/internal/version"
)

// Run serves the node until the context ends. What it has brought into force
// stays in force afterwards: pods keep their network while no agent runs. While
// another agent serves the node it stands by, and comes when that one has ended.
func Run(ctx context.Context, cfg Config, kube *rest.Config, log *slog.Logger) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	opts, err := cfg.options(log)
	if err != nil {
		return err
	}
	started := &started{socket: cfg.StartedSocket}
	defer started.close()
	hold, err := cfg.place().Take()
	if err == nil && hold == nil {
		hold, err = standBy(ctx, cfg, opts, started, log)
	}
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	defer hold.Release() // last of all: the next agent comes now
	listening, err := listenAfter(ctx, cfg.HealthAddress)
	if err != nil {
		return err
	}
	defer listening.Close() //nolint:errcheck // the server has closed it
	if err := started.say(); err != nil {
		return err
	}
	return serve(ctx, cfg, opts, listening, kube, log)
}

// serve serves the node, which nobody else does, and health on a listener.
func serve(ctx context.Context, cfg Config, opts datapath.Options, listening net.Listener, kube *rest.Config, log *slog.Logger) error {
	if err := datapath.Probe(opts); err != nil {
		sleep(ctx, restartDelay)
		return fmt.Errorf("node %s cannot run Fairlead: %w", cfg.NodeName, err)
	}
	if err := installPlugin(cfg.CNIPlugin, cfg.CNIBinDir); err != nil {
		return err
	}
	store, err := endpoint.NewStore(filepath.Join(cfg.StateDir, "endpoints"))
	if err != nil {
		return err
	}
	manager := endpoint.NewManager(store, log)
	dp := newDatapathHolder()
	defer dp.close(log)
	publish := func() error {
		return errors.Join(node.WriteConf(cfg.CNIConfDir, cfg.Socket, cfg.Services), os.WriteFile(cniapi.InForce(cfg.Socket), nil, 0o644))
	}
	var nd *node.Node
	paths := pathmtu.New(pathmtu.Config{Network: pathmtu.Sockets{DeviceMTU: watch.DeviceMTU}, Changed: func() { nd.Nudge() }, Log: log})
	nd = node.New(dp.opener(opts), manager, paths, publish, log)
	serviceMetrics := newServiceMetrics(nd, dp, log)
	serviceHealth := servicehealth.New(log)
	defer serviceHealth.Close()
	if cfg.Services {
		nd.BalanceServices(service.New(cfg.NodeName), serviceHealth, serviceMetrics.observe)
		manager.Watch(podWatcher{nd, log})
	}

	policyMetrics := newPolicyMetrics(nd, dp, log)
	drops := drop.New(nd.Cause, log)

	announcer := announce.New(announce.Config{Node: cfg.NodeName, DevicesOf: watch.DevicesOf, Log: log})
	stream, err := agentsync.New(agentsync.Config{
		NodeName: cfg.NodeName, ClusterName: cfg.ClusterName, AgentVersion: version.Version,
		StateDir: cfg.StateDir, TokenFile: cfg.TokenFile, RootsFile: cfg.TrustFile, LittleRoom: func() string { return words(serviceMetrics.room, policyMetrics.room) }, Log: log,
	}, announcing{nd, announcer})
	if err != nil {
		return err
	}
	if cfg.Policies {
		nd.EnforcePolicies(policyMetrics.observe)
		manager.Enforce(newPodPolicies(cfg, nd, stream, policyMetrics, log))
	}
	if _, err := stream.Load(); err != nil {
		return err
	}

	metrics := newMetrics(manager, dp, stream, paths)
	if cfg.Services {
		metrics.registry.MustRegister(serviceMetrics)
	}
	if cfg.Policies {
		metrics.registry.MustRegister(policyMetrics, drops)
	}
	metrics.registry.MustRegister(announcedGauge(announcer))
	socket, err := cniserver.Listen(cfg.Socket)
	if err != nil {
		return err
	}
	cni := cniserver.New(manager, log, metrics.observeCNI)
	health := &healthServer{place: cfg.place(), manager: manager, node: nd, dp: dp, stream: stream, paths: paths, registry: metrics.registry, drops: drops, name: cfg.NodeName}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return cni.Serve(ctx, socket) })
	g.Go(func() error { return health.serve(ctx, listening) })
	g.Go(func() error { return discovery.Watch(ctx, kube, cfg.Namespace, stream.SetAddresses) })
	g.Go(func() error { return stream.Run(ctx) })
	g.Go(func() error { return nd.Run(ctx) })
	g.Go(func() error { return paths.Run(ctx) })
	g.Go(func() error { return announcer.Run(ctx) })
	if cfg.Services {
		g.Go(func() error { return succeedKubeProxy(ctx, nd, log) })
		g.Go(func() error { return readiness.Run(ctx, localReadiness(cfg.NodeName, kube, stream, nd, log)) })
	}
	if cfg.Policies {
		g.Go(func() error { return dp.readDrops(ctx, drops.Record, log) })
	}
	g.Go(func() error { return watchMachine(ctx, nd, paths, announcer, log) })
	log.Info("the agent runs", "node", cfg.NodeName, "version", version.Version, "socket", cfg.Socket)
	return g.Wait()
}

// watchMachine has the node's state repeated, and paths measured anew by an uplink whose
// MTU changed, when the machine's network becomes another one.
func watchMachine(ctx context.Context, nd *node.Node, paths *pathmtu.Prober, announcer *announce.Announcer, log *slog.Logger) error {
	ns, err := netns.Current()
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // it was only read
	return watch.Run(ctx, ns, log, func() {
		nd.Nudge()
		paths.Recheck()
		announcer.Recheck()
	})
}

// succeedKubeProxy removes what kube-proxy has left on the node once it has ended and
// Services are in force without it.
func succeedKubeProxy(ctx context.Context, nd *node.Node, log *slog.Logger) error {
	ns, err := netns.Current()
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // it was only read
	return kubeproxy.Run(ctx, ns, nd.ServicesInForce(), log)
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
