// SPDX-License-Identifier: Apache-2.0

package addresspool

import (
	"context"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// LeaseName is the name of the Lease in the controllers' namespace.
const LeaseName = "fairlead-addresspool"

// Leader is the part of a replica that holds, or waits for, the Lease to give addresses.
//
// The manager's own election is not used: a manager that loses it ends, and with it the
// streams of all agents that the replica serves; and it needs the API server to go on.
type Leader struct {
	// Client reaches the API server.
	Client *rest.Config
	// Namespace is the Lease's, Identity names the replica.
	Namespace, Identity string

	leading atomic.Bool
	began   chan struct{}
}

// NewLeader returns a Leader that does not lead.
func NewLeader(cfg *rest.Config, namespace, identity string) *Leader {
	return &Leader{Client: cfg, Namespace: namespace, Identity: identity, began: make(chan struct{}, 1)}
}

// Leading says whether this replica leads.
func (l *Leader) Leading() bool { return l.leading.Load() }

// Began gets a value when the replica begins to lead.
func (l *Leader) Began() <-chan struct{} { return l.began }

// NeedLeaderElection is part of manager.LeaderElectionRunnable: this is the election.
func (l *Leader) NeedLeaderElection() bool { return false }

// Start takes part in the election until ctx ends, and then gives the Lease back.
func (l *Leader) Start(ctx context.Context) error {
	leases, err := coordinationv1.NewForConfig(l.Client)
	if err != nil {
		return err
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: l.Namespace, Name: LeaseName}, Client: leases,
			LockConfig: resourcelock.ResourceLockConfig{Identity: l.Identity},
		},
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		ReleaseOnCancel: true, Name: LeaseName,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				if ctx.Err() != nil {
					return // lost again already
				}
				l.leading.Store(true)
				select {
				case l.began <- struct{}{}:
				default:
				}
			},
			OnStoppedLeading: func() { l.leading.Store(false) },
		},
	})
	if err != nil {
		return err
	}
	ctx = klog.NewContext(ctx, log.FromContext(ctx))
	for ctx.Err() == nil {
		elector.Run(ctx)
		// It has lost the Lease, as it does while the API server is away, and waits again.
		// Whatever it wrote late fails: each write names the version that it replaces.
	}
	return nil
}
