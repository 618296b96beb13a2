// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/capi"
	"github.com/fairlead-io/fairlead/test/lab/fleet"
	"github.com/fairlead-io/fairlead/test/lab/kube"
	"github.com/fairlead-io/fairlead/test/lab/plan"
	"github.com/fairlead-io/fairlead/test/lab/provider"
	"github.com/fairlead-io/fairlead/test/lab/wire"
)

// furnish waits for a cluster's API server, gives it its objects and waits for its nodes.
func (l *Lab) furnish(ctx context.Context, c plan.Cluster, kubeconfigs map[string][]byte) error {
	path := l.Plan.Kubeconfig(c.Name)
	err := l.Progress.Step(c.Name+": API server ready", func() error {
		return l.explain(fleet.WaitReady(ctx, path, apiPatience), c.ControlPlane)
	})
	if err != nil || c.Born { // The rest is the provider's.
		return err
	}
	client, err := fleet.NewClient(path)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	switch {
	case c.Hub && l.Plan.CAPI:
		err = l.Progress.Step(c.Name+": Cluster API, its webhooks, the lab's provider, ClusterClass lab", func() error {
			return l.clusterAPI(limited, c, client)
		})
	case c.Hub:
		err = l.Progress.Step(c.Name+": Cluster API's CRDs, Cluster objects, kubeconfig Secrets", func() error {
			return errors.Join(fleet.CRDs(limited, client, l.Builder.CRDs()), fleet.Clusters(limited, client, l.workloads(), kubeconfigs))
		})
	case c.KubeProxy:
		err = l.Progress.Step(c.Name+": CoreDNS and kube-proxy applied", func() error {
			return errors.Join(fleet.CoreDNS(limited, client, c), fleet.KubeProxy(limited, client, c))
		})
	default:
		err = l.Progress.Step(c.Name+": CoreDNS applied", func() error { return fleet.CoreDNS(limited, client, c) })
	}
	if err != nil {
		return err
	}
	return l.Progress.Step(fmt.Sprintf("%s: %d node(s) registered", c.Name, len(c.Nodes)), func() error {
		err := l.explain(fleet.WaitNodes(ctx, client, len(c.Nodes), c.Hub, nodePatience), c.Nodes[0])
		_, routesErr := l.routeToPods(ctx, c, client)
		return errors.Join(err, routesErr)
	})
}

// clusterAPI installs Cluster API and the lab's provider, whose controllers run already and wait. It
// returns when Cluster API's webhooks have let the ClusterClass pass.
func (l *Lab) clusterAPI(ctx context.Context, hub plan.Cluster, c client.Client) error {
	_, credentials, err := kube.ControlPlane(hub)
	if err != nil {
		return err
	}
	_, webhookCA, err := kube.ClusterAPI(hub, credentials)
	if err != nil {
		return err
	}
	config, err := l.Builder.CoreConfig(ctx)
	if err != nil {
		return err
	}
	if err := capi.Install(ctx, c, capi.Installation{Name: capi.Core.Name, Config: config, Webhooks: kube.CoreWebhooks, CA: webhookCA}); err != nil {
		return err
	}
	return errors.Join(fleet.Manifest(ctx, c, provider.CRDs), fleet.Clusters(ctx, c, nil, nil), fleet.Manifest(ctx, c, provider.Class))
}

// routeToPods lets the API server reach pods, which its proxies and its webhooks need:
// the control plane is no node, so it sends pods' packets to their nodes. The router
// goes on knowing nothing of pods. It returns the ranges that there are routes to.
func (l *Lab) routeToPods(ctx context.Context, c plan.Cluster, api client.Client) (map[netip.Prefix]bool, error) {
	ranges, err := fleet.PodRanges(ctx, api)
	if err != nil {
		return nil, err
	}
	routes := map[netip.Prefix]bool{}
	for _, m := range c.Nodes {
		for _, r := range ranges[m.Name] {
			via := m.IPv4
			if r.Addr().Is6() {
				via = m.IPv6
			}
			if err := wire.Route(c.ControlPlane.Netns, r, via); err != nil {
				return nil, err
			}
			routes[r] = true
		}
	}
	return routes, nil
}

// explain adds where to look.
func (l *Lab) explain(err error, m plan.Machine) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w; see the logs in %s", m.Cluster, err, m.Logs)
}
