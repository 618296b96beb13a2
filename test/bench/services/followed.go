// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"errors"
	"slices"
	"time"
)

// kills is how often an agent is killed.
const kills = 3

// Followed is how a real controller and agent of Fairlead's did with a number of Services.
type Followed struct {
	// Synced is from the agent's start until all Services were in force, Updating the part
	// of it in which the datapath was told of them.
	Synced, Updating time.Duration
	// Changes are as those of kube-proxy.
	Changes     []time.Duration
	ResidentMiB float64 // of the agent, after Changes
	Storm       Storm
	Killed      Killed
}

// CanFollow says whether Followed has the programs that it needs.
func (b *Bench) CanFollow() bool { return b.settings.Fairlead != "" && b.cluster != nil }

// Followed starts a controller, and an agent on a new node, measures n changes, a storm of
// them, and new connections while the agent is killed, and ends both.
func (b *Bench) Followed(ctx context.Context, n int) (r Followed, err error) {
	b.agents++
	a, err := newAgent(ctx, b.world, b.cluster, b.settings.Fairlead, b.agents)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	err = within(a.cgroup, func() error { return b.follow(ctx, a, n, &r) })
	return r, err
}

func (b *Bench) follow(ctx context.Context, a *agent, n int, r *Followed) error {
	began := time.Now()
	if err := a.start(ctx, b.size); err != nil {
		return err
	}
	r.Synced = time.Since(began)
	m, err := a.metrics(ctx)
	if err != nil {
		return err
	}
	r.Updating = m.updating
	b.settings.Say("Fairlead's agent is in step with %d Services after %v, of which the datapath took %v", b.size, r.Synced.Round(time.Millisecond), r.Updating.Round(time.Millisecond))
	if r.Changes, err = b.cluster.changes(ctx, a.follower(), n); err != nil {
		return err
	}
	if r.ResidentMiB, err = a.process.ResidentMiB(); err != nil {
		return err
	}
	b.settings.Say("traffic has followed %d changes after %v at most; the agent has %.0f MiB", n, slices.Max(r.Changes).Round(time.Millisecond), r.ResidentMiB)
	if r.Storm, err = a.storm(ctx, b.size); err != nil {
		return err
	}
	b.settings.Say("traffic followed %v after a storm of %.0f changes a second", r.Storm.After.Round(time.Millisecond), r.Storm.Written)
	if r.Killed, err = a.killed(ctx, b.size, kills); err != nil {
		return err
	}
	b.settings.Say("%d of %d connections failed while the agent was killed: %v", r.Killed.Failed, r.Killed.Connections, r.Killed.Why)
	return nil
}
