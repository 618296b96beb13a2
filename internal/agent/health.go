// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fairlead-io/fairlead/internal/agent/drop"
	"github.com/fairlead-io/fairlead/internal/agent/endpoint"
	"github.com/fairlead-io/fairlead/internal/agent/node"
	"github.com/fairlead-io/fairlead/internal/agent/pathmtu"
	agentsync "github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/agent/turn"
	"github.com/fairlead-io/fairlead/internal/version"
)

// Status is the agent's account of itself, served at /status.
type Status struct {
	Node    string `json:"node"`
	Version string `json:"version"`
	// Ready: CNI ADD is served. NotReady says why it is not.
	Ready    bool   `json:"ready"`
	NotReady string `json:"notReady,omitempty"`

	Connected  bool      `json:"connected"`
	Controller string    `json:"controller,omitempty"`
	Since      time.Time `json:"since"`
	LastError  string    `json:"lastError,omitempty"`

	Ranges    []RangeStatus    `json:"ranges"`
	Endpoints []EndpointStatus `json:"endpoints"`

	// Paths names the peers that less arrives at than this node's uplink sends, or of
	// which nothing is known; PathsMore counts those that are left out.
	Paths     []PathStatus `json:"paths"`
	PathsMore int          `json:"pathsMore,omitempty"`

	// ServiceMaps are how full the maps of Services are; none where they are left to kube-proxy.
	ServiceMaps []MapStatus `json:"serviceMaps,omitempty"`
	// PolicyMaps are how full those of network policies are; none where none are enforced.
	PolicyMaps []MapStatus `json:"policyMaps,omitempty"`
	// PoliciesNotInForce says why not all network policies are in force; empty: they are.
	PoliciesNotInForce string `json:"policiesNotInForce,omitempty"`
}

// RangeStatus is how full a pod range is.
type RangeStatus struct {
	Prefix string  `json:"prefix"`
	Used   float64 `json:"used"`
	Total  float64 `json:"total"`
}

// EndpointStatus is one attachment. Known is false for a pod that the API server
// does not have on this node (any more).
type EndpointStatus struct {
	Pod         string   `json:"pod"`
	ContainerID string   `json:"containerID"`
	Addresses   []string `json:"addresses"`
	Device      string   `json:"device"`
	Known       bool     `json:"known"`
}

type healthServer struct {
	name     string
	place    turn.Place
	manager  *endpoint.Manager
	node     *node.Node
	dp       *datapathHolder
	stream   *agentsync.Client
	paths    *pathmtu.Prober
	registry *prometheus.Registry
	drops    *drop.Recorder
}

// serve answers /healthz (the process works), /readyz (pods can be connected), /readyz/pod
// (for the kubelet), /status and /metrics until the context ends.
func (h *healthServer) serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }) //nolint:errcheck // the client left
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := h.manager.Status(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok") //nolint:errcheck // the client left
	})
	mux.HandleFunc("/readyz/pod", func(w http.ResponseWriter, _ *http.Request) {
		if err := h.podReady(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok") //nolint:errcheck // the client left
	})
	mux.HandleFunc("/status", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, h.status())
	})
	h.serveServices(mux)
	h.servePolicies(mux)
	mux.Handle("/metrics", promhttp.HandlerFor(h.registry, promhttp.HandlerOpts{}))
	return serveHTTP(ctx, l, mux)
}

// podReady says why the agents' pods on this node are not ready, those of the agent that
// serves and of one that stands by. One that stands by is the way out when this one does not
// come to serve: the DaemonSet ends this one only for another that is ready.
func (h *healthServer) podReady() error {
	err := h.manager.Status()
	if err == nil {
		return nil
	}
	next, unknown := h.place.SomebodyStandsBy()
	if next {
		return nil
	}
	return errors.Join(err, unknown)
}

func (h *healthServer) status() Status {
	stream := h.stream.Status()
	s := Status{
		Node: h.name, Version: version.Version, Ready: true,
		Connected: stream.Connected, Controller: stream.Controller, Since: stream.Since, LastError: stream.LastError,
		Ranges: []RangeStatus{}, Endpoints: []EndpointStatus{},
	}
	if err := h.manager.Status(); err != nil {
		s.Ready, s.NotReady = false, err.Error()
	}
	for _, u := range h.manager.Usage() {
		s.Ranges = append(s.Ranges, RangeStatus{Prefix: u.Prefix.String(), Used: u.Used, Total: u.Total})
	}
	known := h.node.Known()
	for _, r := range h.manager.Records() {
		e := EndpointStatus{Pod: r.Pod.String(), ContainerID: r.Endpoint.ContainerID, Device: r.Endpoint.HostIf, Known: known[r.Pod.String()]}
		for _, a := range r.Endpoint.Addresses {
			e.Addresses = append(e.Addresses, a.String())
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	s.Paths, s.PathsMore = narrow(h.paths.Paths())
	s.ServiceMaps, s.PolicyMaps = mapStatuses(h.dp.serviceUsage()), mapStatuses(h.dp.policyUsage())
	s.PoliciesNotInForce = h.node.PolicyState().NotInForce
	return s
}

// listenHealth opens the address of health, status and metrics.
func listenHealth(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("health server: %w", err)
	}
	return l, nil
}

// serveHTTP serves a handler until the context ends.
func serveHTTP(ctx context.Context, l net.Listener, handler http.Handler) error {
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("health server: %w", err)
	}
	return nil
}
