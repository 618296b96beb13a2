// SPDX-License-Identifier: Apache-2.0

package interest

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-io/fairlead/internal/model/policy"
	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

// coalesce is how long changes are gathered before agents are told.
const coalesce = time.Millisecond

// Feed brings changes to the store. Nothing is before Open.
type Feed struct {
	store   *serve.Store
	log     *slog.Logger
	metrics *metrics

	mu         sync.Mutex
	index      *policy.Index
	open       bool
	tracked    map[string]*tracked        // newest generation of each policy that is not known to be in force
	due        []*tracked                 // those that travel with the next change
	ranges     map[string][]netip.Prefix  // that nodes give addresses of
	registered map[string]*serve.Delivery // of pods whose addresses are on their way
	flushed    chan struct{}              // closed at the next flush
	wake       chan struct{}              // capacity 1
	waiting    sync.WaitGroup
}

// New makes a feed. Metrics are registered with reg unless it is nil.
func New(store *serve.Store, reg prometheus.Registerer, log *slog.Logger) *Feed {
	return &Feed{
		store: store, log: log, metrics: newMetrics(reg), index: policy.NewIndex(),
		tracked: map[string]*tracked{}, registered: map[string]*serve.Delivery{},
		flushed: make(chan struct{}), wake: make(chan struct{}, 1),
	}
}

// Change has fn take something over into the index; nobody else changes it meanwhile, so that
// what fn reads from a cache cannot be replaced by something older.
func (f *Feed) Change(fn func(*policy.Index) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := fn(f.index); err != nil {
		return err
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
	return nil
}

// Open says that the index is complete, and brings all of it to the store.
func (f *Feed) Open(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open = true
	_, err := f.flush(ctx)
	return err
}

// NeedLeaderElection is part of manager.LeaderElectionRunnable: every replica serves.
func (f *Feed) NeedLeaderElection() bool { return false }

// Start brings changes to the store until ctx ends.
func (f *Feed) Start(ctx context.Context) error {
	defer f.waiting.Wait()
	timer := time.NewTimer(coalesce)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		}
		timer.Reset(coalesce)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		f.mu.Lock()
		if f.open {
			if _, err := f.flush(ctx); err != nil {
				f.log.Error("a change of policies cannot be told to agents", "error", err)
			}
		}
		f.mu.Unlock()
	}
}

// flush tells the store what has changed; it needs the lock.
func (f *Feed) flush(ctx context.Context) (*serve.Delivery, error) {
	start := time.Now()
	change, err := f.index.Take()
	delivery := f.store.Apply(state.PolicyType, change.Scopes)
	f.metrics.changeSeconds.Observe(time.Since(start).Seconds())
	due := f.due
	f.due = nil
	for _, t := range due {
		t.here, t.elsewhere = f.whereabouts(t.resource)
	}
	if len(due) > 0 {
		f.waiting.Go(func() { f.await(ctx, delivery, due) })
	}
	close(f.flushed)
	f.flushed = make(chan struct{})
	return delivery, err
}

// whereabouts are the nodes that hold a policy: how many are connected here, and who is not.
func (f *Feed) whereabouts(resource string) (here int, elsewhere []string) {
	for _, node := range f.index.Nodes(resource) {
		if f.store.Follows(node, state.PolicyType) {
			here++
		} else {
			elsewhere = append(elsewhere, node)
		}
	}
	return here, elsewhere
}
