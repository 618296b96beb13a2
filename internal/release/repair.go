// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"time"

	"github.com/fairlead-io/fairlead/internal/objects"
)

const (
	// patience is how many times an object is put right within patienceFor before its
	// corrections are spaced out, at first by firstPause and at last by lastPause.
	patience    = 3
	patienceFor = 10 * time.Minute
	firstPause  = time.Minute
	lastPause   = 10 * time.Minute
)

// corrections count how often an object was put right without a quiet time between.
type corrections struct {
	count       int
	first, last time.Time
}

// note counts a correction.
func (m *Memory) note(r Ref, now time.Time) {
	if m.corrected == nil {
		m.corrected = map[Ref]*corrections{}
	}
	c := m.corrected[r]
	if c == nil || c.over(now) {
		c = &corrections{first: now}
		m.corrected[r] = c
	}
	c.count, c.last = c.count+1, now
}

// over says that the object was left alone for long enough to begin anew.
func (c *corrections) over(now time.Time) bool {
	if c.count < patience {
		return now.Sub(c.first) > patienceFor
	}
	return now.Sub(c.last) > patienceFor+lastPause
}

// wait is how long an object is to be left alone. Somebody who changes it whenever it is put
// right would else keep the cluster, and the operator, busy for ever.
func (m *Memory) wait(r Ref, now time.Time) time.Duration {
	c := m.corrected[r]
	if c == nil || c.count < patience || c.over(now) {
		return 0
	}
	pause := min(firstPause<<min(c.count-patience, 8), lastPause)
	return max(c.last.Add(pause).Sub(now), 0)
}

// repair puts right the objects that Observe found to differ, and no others: there is no
// new revision, and workloads restart only when it was their template that differed.
func (t *Target) repair(ctx context.Context) (*Release, error) {
	for _, d := range t.seen.Drift {
		if d.Wait > 0 {
			continue
		}
		if d.anew {
			if _, err := t.objects.Delete(ctx, d.Ref); err != nil {
				return nil, err
			}
		}
		live, err := t.objects.Apply(ctx, d.wanted, true, false)
		if err != nil {
			return nil, err
		}
		t.memory.marks[d.Ref] = objects.Mark(live)
		t.memory.note(d.Ref, t.Now())
	}
	return t.seen.Release, nil
}
