// SPDX-License-Identifier: Apache-2.0

package enroll

import (
	"context"
	"crypto/x509"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// NodeOf returns the node whose agent calls, from the client certificate that the
// TLS handshake verified. It answers UNAUTHENTICATED without a certificate and
// PERMISSION_DENIED for one that is not of an agent of this cluster.
func NodeOf(ctx context.Context, cluster string) (string, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", status.Error(codes.Unauthenticated, "the connection has no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return "", status.Error(codes.Unauthenticated, "a client certificate is needed; enroll first")
	}
	return nodeOfCertificate(info.State.VerifiedChains[0][0], cluster)
}

func nodeOfCertificate(leaf *x509.Certificate, cluster string) (string, error) {
	prefix := NodeURI(cluster, "").String()
	for _, u := range leaf.URIs {
		node, ok := strings.CutPrefix(u.String(), prefix)
		if ok && node != "" && node == leaf.Subject.CommonName {
			return node, nil
		}
	}
	return "", status.Errorf(codes.PermissionDenied, "the client certificate of %q is not of an agent of cluster %q", leaf.Subject.CommonName, cluster)
}
