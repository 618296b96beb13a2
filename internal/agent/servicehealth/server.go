// SPDX-License-Identifier: Apache-2.0

// Package servicehealth answers load balancers in front of a cluster which ask each node,
// at the healthCheckNodePort of a Service with externalTrafficPolicy Local, whether it has
// endpoints of the Service.
//
// It must not decide which endpoints count.
package servicehealth

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead-io/fairlead/internal/agent/service"
)

// Server has a listener for each port. Its zero value is not usable; see New.
type Server struct {
	log *slog.Logger

	mu      sync.Mutex
	closed  bool
	answers map[uint16]service.Health
	running map[uint16]*http.Server
}

// New returns a server that listens nowhere yet.
func New(log *slog.Logger) *Server {
	return &Server{log: log, answers: map[uint16]service.Health{}, running: map[uint16]*http.Server{}}
}

// SetServices says all Services that are asked for. A port that cannot be listened at is
// logged, and tried again with the next call.
func (s *Server) SetServices(all []service.Health) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.answers = make(map[uint16]service.Health, len(all))
	for _, h := range all {
		s.answers[h.Port] = h
		if s.running[h.Port] == nil {
			s.listen(h)
		}
	}
	for port, server := range s.running {
		if _, wanted := s.answers[port]; !wanted {
			_ = server.Close() // who asks at this moment asks in vain, as at the next
			delete(s.running, port)
		}
	}
}

func (s *Server) listen(h service.Health) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", ":"+strconv.Itoa(int(h.Port)))
	if err != nil {
		s.log.Warn("a Service's healthCheckNodePort cannot be served", "service", h.Namespace+"/"+h.Name, "port", h.Port, "error", err)
		return
	}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: s.handler(h.Port)}
	s.running[h.Port] = server
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Warn("a healthCheckNodePort is served no more", "port", h.Port, "error", err)
		}
	}()
}

// answer is what kube-proxy answers, so that load balancers need not know who is asked.
type answer struct {
	Service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"service"`
	LocalEndpoints      int  `json:"localEndpoints"`
	ServiceProxyHealthy bool `json:"serviceProxyHealthy"`
}

func (s *Server) handler(port uint16) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		h, ok := s.answers[port]
		s.mu.Unlock()
		if !ok {
			http.Error(w, "no Service has this port", http.StatusNotFound)
			return
		}
		a := answer{LocalEndpoints: h.LocalEndpoints, ServiceProxyHealthy: true}
		a.Service.Namespace, a.Service.Name = h.Namespace, h.Name
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(h.LocalEndpoints))
		if h.LocalEndpoints == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(a) // the client left
	})
}

// Close ends all listeners.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, server := range s.running {
		_ = server.Close()
	}
}
