// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// RestWave is the name of the last wave: the clusters that no other selects.
const RestWave = "rest"

// What fields of spec.rollout stand for when they are not set.
const (
	defaultMaxConcurrent = "25%"
	defaultMaxAway       = "10%"
	defaultSoak          = 30 * time.Second
	defaultDeadline      = 15 * time.Minute
)

// wave is a WaveSpec whose selector was read.
type wave struct {
	v1alpha1.WaveSpec
	selector labels.Selector
}

// readWaves reads a stack's waves and adds the last one. The error is a *RolloutError.
func readWaves(s *v1alpha1.NetworkStack) ([]wave, error) {
	out := make([]wave, 0, len(s.Spec.Rollout.Waves)+1)
	for _, w := range s.Spec.Rollout.Waves {
		selector := labels.Nothing()
		if len(w.ClusterSelector.MatchLabels)+len(w.ClusterSelector.MatchExpressions) > 0 {
			var err error
			if selector, err = metav1.LabelSelectorAsSelector(&w.ClusterSelector); err != nil {
				return nil, &RolloutError{
					Stack: s.Name, Field: fmt.Sprintf("clusterSelector of spec.rollout.waves[name=%s]", w.Name),
					Fault: fmt.Sprintf("is not a valid label selector (%v): correct it", err),
				}
			}
		}
		out = append(out, wave{WaveSpec: w, selector: selector})
	}
	return append(out, wave{WaveSpec: v1alpha1.WaveSpec{Name: RestWave}, selector: labels.Everything()}), nil
}

// waveOf is the first wave that selects a cluster.
func waveOf(waves []wave, c Cluster) *wave {
	for i := range waves {
		if waves[i].selector.Matches(labels.Set(c.Labels)) {
			return &waves[i]
		}
	}
	return &waves[len(waves)-1]
}

// soak is how long a cluster of the wave is watched.
func (w *wave) soak(r *v1alpha1.RolloutSpec) time.Duration {
	switch {
	case w.Soak != nil:
		return max(0, w.Soak.Duration)
	case r.Soak != nil:
		return max(0, r.Soak.Duration)
	}
	return defaultSoak
}

// maxConcurrent is how many of n clusters may be on their way; at least one, or nothing
// would ever move.
func (w *wave) maxConcurrent(r *v1alpha1.RolloutSpec, n int) int {
	amount := r.MaxConcurrent
	if w.MaxConcurrent != nil {
		amount = w.MaxConcurrent
	}
	return max(1, atLeast(amount, defaultMaxConcurrent, n))
}

func (w *wave) maxAway(r *v1alpha1.RolloutSpec, n int) int {
	amount := r.MaxAway
	if w.MaxAway != nil {
		amount = w.MaxAway
	}
	return atMost(amount, defaultMaxAway, n)
}

func (w *wave) canaries(n int) int { return atLeast(w.Canaries, "0", n) }
