// SPDX-License-Identifier: Apache-2.0

package controllerrun

import (
	"context"
	"errors"

	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/fairlead-io/fairlead/controllers/addresspool"
	"github.com/fairlead-io/fairlead/internal/enroll"
	"github.com/fairlead-io/fairlead/internal/serve"
)

// addPools adds what gives Services their addresses and says who announces them. It
// returns what gives the store its first announcements.
func addPools(ctx context.Context, cfg Config, mgr manager.Manager, store *serve.Store, authority *enroll.Authority) (func(context.Context) error, error) {
	if !cfg.Services {
		return func(context.Context) error { return nil }, nil
	}
	leader := addresspool.NewLeader(mgr.GetConfig(), cfg.Namespace, cfg.PodName)
	pools := &addresspool.Reconciler{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Events: mgr.GetEventRecorder("fairlead-controller"),
		Leading: leader.Leading, ClusterPodCIDRs: cfg.ClusterPodCIDRs,
	}
	announcer := &addresspool.Announcer{Client: mgr.GetClient(), Store: store, Key: func() ([]byte, error) {
		return authority.SharedSecret("announcements")
	}}
	return announcer.Sync, errors.Join(
		mgr.Add(leader), pools.SetupWithManager(mgr, leader.Began()), announcer.SetupWithManager(ctx, mgr),
	)
}
