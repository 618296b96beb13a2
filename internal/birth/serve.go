// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"

	runtimecatalog "sigs.k8s.io/cluster-api/api/runtime/catalog"
	runtimehooksv1 "sigs.k8s.io/cluster-api/api/runtime/hooks/v1alpha1"
	"sigs.k8s.io/cluster-api/exp/runtime/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

// hookTimeout is how long Cluster API waits for an answer, in seconds. A reservation is a write
// to its own API server.
const hookTimeout int32 = 10

// Server answers the hooks, and the API server's questions about Clusters that are created and
// control planes and machines that are upgraded, over TLS. Every replica serves.
type Server struct {
	*server.Server
}

// NewServer makes a server on an address (host:port), with the certificate of the moment.
func NewServer(address string, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error), h *Hooks, a *Admission) (*Server, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("--hooks-address %q: %w: write it as host:port", address, err)
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 1 || port > 65535 {
		return nil, fmt.Errorf("--hooks-address %q: %q is no port: write it as host:port", address, text)
	}
	catalog := runtimecatalog.New()
	if err := runtimehooksv1.AddToCatalog(catalog); err != nil {
		return nil, err
	}
	s, err := server.New(server.Options{Catalog: catalog, Host: host, Port: port, TLSOpts: []func(*tls.Config){func(c *tls.Config) {
		c.MinVersion = tls.VersionTLS13
		c.GetCertificate = certificate
	}}})
	if err != nil {
		return nil, err
	}
	var errs []error
	timeout := hookTimeout
	for _, x := range []server.ExtensionHandler{
		{Hook: runtimehooksv1.BeforeClusterCreate, Name: "reserve", HandlerFunc: h.BeforeClusterCreate},
		{Hook: runtimehooksv1.AfterControlPlaneInitialized, Name: "install", HandlerFunc: h.AfterControlPlaneInitialized},
		{Hook: runtimehooksv1.BeforeClusterUpgrade, Name: "support", HandlerFunc: h.BeforeClusterUpgrade},
		{Hook: runtimehooksv1.BeforeWorkersUpgrade, Name: "support-workers", HandlerFunc: h.BeforeWorkersUpgrade},
		{Hook: runtimehooksv1.BeforeClusterDelete, Name: "leave", HandlerFunc: h.BeforeClusterDelete},
		{Hook: runtimehooksv1.GeneratePatches, Name: "generate-patches", HandlerFunc: h.GeneratePatches},
		{Hook: runtimehooksv1.DiscoverVariables, Name: "discover-variables", HandlerFunc: h.DiscoverVariables},
	} {
		x.TimeoutSeconds = &timeout
		errs = append(errs, s.AddExtensionHandler(x))
	}
	s.Register(AdmissionPath, &webhook.Admission{Handler: a})
	s.Register(UpgradePath, &webhook.Admission{Handler: &UpgradeAdmission{Support: h.Support}})
	return &Server{s}, errors.Join(errs...)
}

// NeedLeaderElection lets every replica serve.
func (s *Server) NeedLeaderElection() bool { return false }

// Start serves until ctx ends.
func (s *Server) Start(ctx context.Context) error {
	if err := s.Server.Start(ctx); err != nil {
		return fmt.Errorf("answering Cluster API's hooks: %w", err)
	}
	return nil
}
