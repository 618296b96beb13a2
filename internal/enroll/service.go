// SPDX-License-Identifier: Apache-2.0

package enroll

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairlead-io/fairlead/internal/state"
)

const (
	// reviewTimeout bounds the question to the API server.
	reviewTimeout = 5 * time.Second
	// maxReviews is how many questions are open at once; more agents than that are
	// told to come again, so that a whole cluster that enrolls does not flood its API server.
	maxReviews = 32
	maxToken   = 16 << 10
	maxCSR     = 16 << 10
)

// Token is what the API server says of a token that it accepts.
type Token struct {
	// Username is that of the ServiceAccount.
	Username string
	// Node is the node that the token's pod runs on; empty if it is bound to none.
	Node string
}

// ErrTokenRefused is returned by a Reviewer for a token that the API server
// refuses. Any other error means that it could not be asked.
var ErrTokenRefused = errors.New("the API server refuses the token")

// Reviewer asks the API server about a token of our audience.
type Reviewer interface {
	Review(ctx context.Context, token string) (Token, error)
}

// Service implements the Enrollment call.
type Service struct {
	state.UnimplementedEnrollmentServer

	authority *Authority
	reviewer  Reviewer
	username  string
	log       *slog.Logger
	open      chan struct{}
	results   *prometheus.CounterVec
}

// NewService makes the enrollment service. username is the only one that may
// enroll: "system:serviceaccount:<namespace>:fairlead-agent". Metrics are registered
// with reg unless it is nil.
func NewService(a *Authority, r Reviewer, username string, reg prometheus.Registerer, log *slog.Logger) *Service {
	results := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "fairlead", Name: "enrollments_total", Help: "Enrollments of agents, by gRPC code.",
	}, []string{"code"})
	if reg != nil {
		reg.MustRegister(results)
	}
	return &Service{authority: a, reviewer: r, username: username, log: log, open: make(chan struct{}, maxReviews), results: results}
}

// Enroll signs a client certificate for the node that the token is bound to.
func (s *Service) Enroll(ctx context.Context, req *state.EnrollRequest) (*state.EnrollResponse, error) {
	resp, node, err := s.enroll(ctx, req)
	s.results.WithLabelValues(status.Code(err).String()).Inc()
	if err != nil {
		s.log.Warn("an enrollment was refused", "node", node, "error", err)
		return nil, err
	}
	s.log.Info("enrolled an agent", "node", node)
	return resp, nil
}

func (s *Service) enroll(ctx context.Context, req *state.EnrollRequest) (*state.EnrollResponse, string, error) {
	csr, err := parseCSR(req.GetCsr())
	if err != nil {
		return nil, "", err
	}
	token, err := s.review(ctx, req.GetToken())
	if err != nil {
		return nil, csr.Subject.CommonName, err
	}
	switch {
	case token.Username != s.username:
		return nil, token.Node, status.Errorf(codes.PermissionDenied, "the token is of %q; only %q may enroll", token.Username, s.username)
	case token.Node == "":
		return nil, "", status.Error(codes.Unauthenticated, "the token is bound to no node; it must be a projected token of a pod (API server 1.30 or newer puts the node into it)")
	case csr.Subject.CommonName != token.Node:
		return nil, token.Node, status.Errorf(codes.PermissionDenied, "the signing request is for node %q but the token is of node %q", csr.Subject.CommonName, token.Node)
	}
	chain, err := s.authority.SignNode(token.Node, csr.PublicKey)
	if err != nil {
		return nil, token.Node, status.Errorf(codes.Unavailable, "no certificate can be issued: %v", err)
	}
	return &state.EnrollResponse{Chain: chain}, token.Node, nil
}

// parseCSR accepts a request with an ECDSA key that signed it.
func parseCSR(der []byte) (*x509.CertificateRequest, error) {
	if len(der) > maxCSR {
		return nil, status.Errorf(codes.InvalidArgument, "field csr is larger than %d bytes", maxCSR)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "field csr is no PKCS #10 request in DER: %v", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "field csr is not signed by its own key: %v", err)
	}
	if _, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok {
		return nil, status.Errorf(codes.InvalidArgument, "field csr has a key of type %s; use ECDSA", csr.PublicKeyAlgorithm)
	}
	return csr, nil
}

func (s *Service) review(ctx context.Context, token string) (Token, error) {
	if token == "" || len(token) > maxToken {
		return Token{}, status.Error(codes.Unauthenticated, "field token is empty or absurdly long; send the projected ServiceAccount token")
	}
	select {
	case s.open <- struct{}{}:
		defer func() { <-s.open }()
	default:
		return Token{}, status.Error(codes.Unavailable, "too many enrollments at once; come again in a moment")
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	t, err := s.reviewer.Review(ctx, token)
	switch {
	case errors.Is(err, ErrTokenRefused):
		return Token{}, status.Errorf(codes.Unauthenticated, "%v (its audience must be %q)", err, Audience)
	case err != nil:
		return Token{}, status.Errorf(codes.Unavailable, "the API server cannot be asked about the token: %v", err)
	}
	return t, nil
}
