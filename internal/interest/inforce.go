// SPDX-License-Identifier: Apache-2.0

package interest

import (
	"context"
	"time"

	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/model/policy"
	"github.com/fairlead-io/fairlead/internal/serve"
)

// InForce is what has become of a generation of a policy at the agents that are connected
// to this replica.
type InForce struct {
	Generation int64
	// Here is how many of the nodes with pods that the policy selects were connected to this
	// replica; Elsewhere are the others of them.
	Here      int
	Elsewhere []string
	// Progress of all that were told: also nodes that the policy has left, or that had to hear
	// that their pods are named.
	serve.Progress
	// After is the time from seeing the generation until the last one had acknowledged.
	After time.Duration
}

// tracked is a generation of a policy that is on its way.
type tracked struct {
	resource, kind string
	generation     int64
	seen           time.Time
	told           func(InForce)
	here           int
	elsewhere      []string
}

// Policy is a generation of a policy that is taken over.
type Policy struct {
	// Resource is its resource name, Kind that of the object.
	Resource, Kind string
	Generation     int64
	// Set takes it over and returns what cannot be used of it.
	Set func(*policy.Index) []model.Finding
	// Told, unless nil, is called when the generation is in force, or is known not to come into
	// force; not when a newer one has come before.
	Told func(InForce)
}

// SetPolicy takes a policy over and follows it until it is in force.
func (f *Feed) SetPolicy(p Policy) (findings []model.Finding) {
	seen := time.Now()
	_ = f.Change(func(x *policy.Index) error { // it returns no error of its own
		findings = p.Set(x)
		if p.Told == nil {
			return nil
		}
		t := &tracked{resource: p.Resource, kind: p.Kind, generation: p.Generation, seen: seen, told: p.Told}
		f.tracked[p.Resource] = t
		f.due = append(f.due, t)
		f.metrics.pending.Set(float64(len(f.tracked)))
		return nil
	})
	return findings
}

// RemovePolicy takes over that a policy is gone.
func (f *Feed) RemovePolicy(resource string, remove func(*policy.Index)) {
	_ = f.Change(func(x *policy.Index) error {
		remove(x)
		delete(f.tracked, resource)
		f.metrics.pending.Set(float64(len(f.tracked)))
		return nil
	})
}

// await waits for a delivery and reports the policies that travelled with it.
func (f *Feed) await(ctx context.Context, d *serve.Delivery, due []*tracked) {
	select {
	case <-ctx.Done():
		return
	case <-d.Done():
	}
	for _, t := range due {
		if f.settled(t) {
			after := time.Since(t.seen)
			in := InForce{Generation: t.generation, Here: t.here, Elsewhere: t.elsewhere, Progress: d.Progress(), After: after}
			if in.Acknowledged+in.Refused+in.Gone > 0 {
				f.metrics.inForce.WithLabelValues(t.kind).Observe(after.Seconds())
			}
			t.told(in)
		}
	}
}

// settled says whether no newer generation has come since.
func (f *Feed) settled(t *tracked) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tracked[t.resource] != t {
		return false
	}
	delete(f.tracked, t.resource)
	f.metrics.pending.Set(float64(len(f.tracked)))
	return true
}
