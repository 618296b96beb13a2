// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"net/netip"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/lab/plan"
)

// Host does for the provider what has to do with machines. Every method may be called again, and then
// completes what is missing.
type Host interface {
	// Has says whether the lab has the binaries of a version of Kubernetes.
	Has(version string) bool
	// Reserve makes a cluster's network and returns the address that its API server will have.
	Reserve(namespace, cluster string) (netip.AddrPort, error)
	// Release removes all that is left of a cluster.
	Release(cluster string) error

	// StartControlPlane boots a cluster's control plane, or restarts it with another version. It
	// returns before the API server answers. Ranges are those of the first call.
	StartControlPlane(cluster string, c ControlPlane) (API, error)
	// RemoveControlPlane takes it away, with all that it has stored.
	RemoveControlPlane(cluster string) error

	// StartNode boots a node, with all images that the lab has loaded.
	StartNode(ctx context.Context, cluster, node, version string) (plan.Machine, error)
	// RemoveNode takes a node away with its disk.
	RemoveNode(cluster, node string) error
	// RouteToPods lets a cluster's API server reach pods on the nodes that it has now.
	RouteToPods(ctx context.Context, cluster string, api client.Client) error
}

// ControlPlane is what a control plane starts with.
type ControlPlane struct {
	Version  string
	Pods     []netip.Prefix // One of each family, as Services.
	Services []netip.Prefix
}

// API is how an API server is reached, with all rights.
type API struct {
	Cluster plan.Cluster
	// Here is the path of the kubeconfig for this host.
	Here string
	// Inside is the kubeconfig for machines of the lab. It is a secret.
	Inside []byte
}
