// SPDX-License-Identifier: Apache-2.0

package controllerrun

import (
	"context"
	"errors"

	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-io/fairlead/controllers/clusternetworkpolicy"
	"github.com/fairlead-io/fairlead/controllers/namespace"
	"github.com/fairlead-io/fairlead/controllers/networkpolicy"
	"github.com/fairlead-io/fairlead/controllers/node"
	"github.com/fairlead-io/fairlead/controllers/pod"
	"github.com/fairlead-io/fairlead/internal/interest"
)

// addPolicies adds what brings policies, and those whom they mean, to the agents. It returns
// what gives the store its first ones.
func addPolicies(cfg Config, mgr manager.Manager, feed *interest.Feed) (func(context.Context) error, error) {
	namespaces := &namespace.Reconciler{Client: mgr.GetClient(), Feed: feed}
	nodes := &node.PolicyReconciler{Client: mgr.GetClient(), Feed: feed}
	pods := &pod.PolicyReconciler{Client: mgr.GetClient(), Feed: feed}
	policies := &networkpolicy.Reconciler{Client: mgr.GetClient(), Feed: feed, Events: mgr.GetEventRecorder("fairlead-controller")}
	cluster := &clusternetworkpolicy.Reconciler{Client: mgr.GetClient(), Feed: feed, Self: cfg.PodName}
	sync := func(ctx context.Context) error {
		// Whom policies mean first: a selector is compared with all of them once.
		err := errors.Join(namespaces.SyncAll(ctx), nodes.SyncAll(ctx), pods.SyncAll(ctx), policies.SyncAll(ctx), cluster.SyncAll(ctx))
		if err != nil {
			return err
		}
		return feed.Open(ctx)
	}
	return sync, errors.Join(
		mgr.Add(feed), namespaces.SetupWithManager(mgr), nodes.SetupWithManager(mgr), pods.SetupWithManager(mgr),
		policies.SetupWithManager(mgr), cluster.SetupWithManager(mgr),
	)
}
