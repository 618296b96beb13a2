// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/lab/fleet"
	"github.com/fairlead-io/fairlead/test/lab/plan"
	"github.com/fairlead-io/fairlead/test/lab/wire"
)

// furnish waits for a cluster's API server, gives it its objects and waits for its nodes.
func (l *Lab) furnish(ctx context.Context, c plan.Cluster, kubeconfigs map[string][]byte) error {
	path := l.Plan.Kubeconfig(c.Name)
	err := l.Progress.Step(c.Name+": API server ready", func() error {
		return l.explain(fleet.WaitReady(ctx, path, apiPatience), c.ControlPlane)
	})
	if err != nil {
		return err
	}
	client, err := fleet.NewClient(path)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	switch {
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
		return errors.Join(err, l.routeToPods(ctx, c, client))
	})
}

// routeToPods lets the API server reach pods, which its proxies and its webhooks need:
// the control plane is no node, so it sends pods' packets to their nodes. The router
// goes on knowing nothing of pods.
func (l *Lab) routeToPods(ctx context.Context, c plan.Cluster, api client.Client) error {
	ranges, err := fleet.PodRanges(ctx, api)
	if err != nil {
		return err
	}
	for _, m := range c.Nodes {
		for _, r := range ranges[m.Name] {
			via := m.IPv4
			if r.Addr().Is6() {
				via = m.IPv6
			}
			if err := wire.Route(c.ControlPlane.Netns, r, via); err != nil {
				return err
			}
		}
	}
	return nil
}

// explain adds where to look.
func (l *Lab) explain(err error, m plan.Machine) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w; see the logs in %s", m.Cluster, err, m.Logs)
}
