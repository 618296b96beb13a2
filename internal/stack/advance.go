// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// advance lets clusters begin, wave by wave.
func (r *rollout) advance() {
	for _, w := range r.waves {
		followers := w.phase == v1alpha1.WavePassed
		switch {
		case !followers && w.phase == v1alpha1.WavePending && r.unapproved(w):
			if w.count(proven, held) < len(w.members) {
				r.wait(fmt.Sprintf("wave %s waits for approval: `fairleadctl rollout approve %s -n %s --wave %s`",
					w.Name, r.stack.Name, r.stack.Namespace, w.Name))
				return
			}
		case w.phase != v1alpha1.WavePassed:
			w.phase = v1alpha1.WaveInProgress
		}
		r.admit(w, followers)
		if followers {
			continue
		}
		if !r.passes(w) {
			return
		}
		at := metav1.NewTime(r.now)
		w.phase, w.passedAt = v1alpha1.WavePassed, &at
	}
}

// admit lets as many clusters of a wave begin as may. Followers are those of a wave that
// has passed: clusters that were away, are new, or got another configuration since.
func (r *rollout) admit(w *waveState, followers bool) {
	candidates := w.members
	if n := w.canaries(len(w.members)); n > 0 && !followers {
		first := w.members[:n]
		if slices.ContainsFunc(first, func(m *member) bool { return m.state != proven && m.state != held && m.state != away }) {
			candidates = first
		}
	}
	room := w.maxConcurrent(&r.stack.Spec.Rollout, len(w.members)) - w.count(updating)
	for _, m := range candidates {
		if m.state != waiting {
			continue
		}
		// Nothing runs on a cluster without a network that a change could harm: once the
		// wave's turn has come it need not wait for others, and, when the configuration is
		// proven elsewhere, for a window.
		if (room <= 0 && !m.fresh()) || !r.may(followers && m.fresh()) {
			continue
		}
		m.admit()
		room--
	}
}

// may says whether clusters may begin now; anytime is for those that windows are not for.
func (r *rollout) may(anytime bool) bool {
	if r.stack.Spec.Paused || r.stack.Spec.Rollout.Paused {
		r.paused = true
		return false
	}
	at, ever := opens(r.plan.windows, r.now)
	switch {
	case anytime:
		return true
	case !ever:
		r.wait("no window of spec.rollout.windows opens any more: add one, or remove those that are over")
		return false
	case at.After(r.now):
		r.wait("the next window opens at " + at.UTC().Format(time.RFC3339))
		r.lookAgain(at)
		return false
	}
	return true
}

func (r *rollout) wait(why string) {
	if r.waiting == "" {
		r.waiting = why
	}
}

func (r *rollout) lookAgain(at time.Time) {
	if r.again.IsZero() || at.Before(r.again) {
		r.again = at
	}
}

// passes says whether the next wave may begin.
func (r *rollout) passes(w *waveState) bool {
	if w.count(unseen, waiting, updating, failed) > 0 {
		return false
	}
	n, allowed := w.count(away), w.maxAway(&r.stack.Spec.Rollout, len(w.members))
	if n > allowed {
		r.wait(fmt.Sprintf("wave %s waits for clusters that are away (%d, and maxAway allows %d): %s", w.Name, n, allowed, w.names(away)))
		return false
	}
	return true
}

// unapproved says whether a wave needs an approval that it does not have.
func (r *rollout) unapproved(w *waveState) bool {
	if w.Approval != v1alpha1.ApprovalRequired {
		return false
	}
	for _, a := range strings.Split(r.stack.Annotations[v1alpha1.ApprovedAnnotation], ",") {
		if strings.TrimSpace(a) == r.status.Revision+"/"+w.Name {
			return false
		}
	}
	return true
}

// maxNamed bounds the clusters that a message names.
const maxNamed = 5

// names are the clusters of a wave in a state, bounded.
func (w *waveState) names(states ...state) string {
	var names []string
	for _, m := range w.members {
		if slices.Contains(states, m.state) {
			names = append(names, m.want.ClusterName)
		}
	}
	if len(names) > maxNamed {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
	}
	return strings.Join(names, ", ")
}
