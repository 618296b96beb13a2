// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"errors"
	"time"

	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/lab/fleet"
	"github.com/fairlead-io/fairlead/test/lab/plan"
)

// How long an API server may take to answer one question, and to take a cluster's first objects.
const (
	answerPatience  = 3 * time.Second
	furnishPatience = time.Minute
)

// connect returns a client of an API server that is ready, and the version that it runs.
func connect(ctx context.Context, kubeconfig string) (client.Client, string, error) {
	config, err := fleet.RESTConfig(kubeconfig)
	if err != nil {
		return nil, "", err
	}
	short := *config
	short.Timeout = answerPatience
	api, err := discovery.NewDiscoveryClientForConfig(&short)
	if err != nil {
		return nil, "", err
	}
	if err := api.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
		return nil, "", err
	}
	version, err := api.ServerVersion()
	if err != nil {
		return nil, "", err
	}
	c, err := fleet.NewClient(kubeconfig)
	return c, version.GitVersion, err
}

// furnish gives a new cluster what kubeadm gives one.
func furnish(ctx context.Context, c client.Client, cluster plan.Cluster, kubeProxy bool) error {
	ctx, cancel := context.WithTimeout(ctx, furnishPatience)
	defer cancel()
	err := fleet.CoreDNS(ctx, c, cluster)
	if kubeProxy {
		err = errors.Join(err, fleet.KubeProxy(ctx, c, cluster))
	}
	return err
}
