// SPDX-License-Identifier: Apache-2.0

// Package enroll is who is who within a cluster: it owns the cluster's intermediate
// CA as mounted from its Secret, the controllers' serving certificates, the signing
// of agents' client certificates against a ServiceAccount token, and the reading of
// an identity from a client certificate. It refuses who was revoked, at the handshake
// and on connections that are open. It must not know what is served to whom.
//
// Identities are URIs: spiffe://<cluster>.fairlead.io/node/<node> and
// spiffe://<cluster>.fairlead.io/controller. Both sides check the cluster's name in
// them, since clusters of one fleet share their root.
package enroll

import "net/url"

// Audience is the audience of the tokens that agents enroll with.
const Audience = "fairlead-controller"

// ServerName is the DNS name in every controller's serving certificate.
const ServerName = "fairlead-controller.fairlead-system"

func identityURI(cluster, path string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: cluster + ".fairlead.io", Path: path}
}

// NodeURI is the identity of a node's agent.
func NodeURI(cluster, node string) *url.URL { return identityURI(cluster, "/node/"+node) }

// ControllerURI is the identity of a cluster's controllers.
func ControllerURI(cluster string) *url.URL { return identityURI(cluster, "/controller") }
