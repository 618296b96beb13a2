// SPDX-License-Identifier: Apache-2.0

package fleetpool

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/addressing"
	"github.com/fairlead-io/fairlead/internal/birth"
)

const (
	// maxWaiting bounds the Clusters that a status names, maxNamed those that a message does.
	maxWaiting = 64
	maxNamed   = 3
	// soon is how far ahead a forecast is worth a word.
	soon = 30 * 24 * time.Hour
)

// refuse reports a FleetPool that nothing can be given from.
func (s *scope) refuse(fault *birth.PoolError) {
	s.set(v1alpha1.ConditionAccepted, false, fault.Reason, fault.Error())
	s.set(v1alpha1.ConditionReady, false, fault.Reason, fault.Error())
	s.object.Status.Usage = nil
}

// summarize computes the status, but for the holdings.
func (s *scope) summarize() {
	slices.SortFunc(s.waiting, func(a, b v1alpha1.WaitingCluster) int { return cmp.Compare(a.Cluster, b.Cluster) })
	s.object.Status.Waiting = slices.Clone(s.waiting[:min(len(s.waiting), maxWaiting)])
	s.set(v1alpha1.ConditionAccepted, true, v1alpha1.ReasonAccepted, "the spec can be acted on")
	s.disjoint()
	available, reason, message := s.use()
	s.set(v1alpha1.ConditionAvailable, available, reason, message)
	switch {
	case len(s.waiting) > 0:
		s.set(v1alpha1.ConditionReady, false, v1alpha1.ReasonClustersWait, fmt.Sprintf("%d Clusters get nothing: %s", len(s.waiting), s.waiting[0].Message))
	case !available:
		s.set(v1alpha1.ConditionReady, false, reason, message)
	default:
		s.set(v1alpha1.ConditionReady, true, v1alpha1.ReasonFleetPoolReady, fmt.Sprintf("every Cluster has its addresses; %d hold some", s.holders()))
	}
}

// holders are the Clusters that hold something.
func (s *scope) holders() int {
	n := 0
	for _, h := range s.page.Held() {
		if h.Freed == nil {
			n++
		}
	}
	return n
}

// use reports how much is left, and says what that means.
func (s *scope) use() (available bool, reason, message string) {
	var all []v1alpha1.PoolUsage
	var none, ending []string
	for _, class := range s.page.Pool.Classes {
		for _, u := range s.page.Book.View(class.Sizes) {
			one := v1alpha1.PoolUsage{
				Class: class.Name, Use: birth.UseName(u.Use), Family: "IPv6", Length: int32(u.Bits),
				Total: whole(u.Total), Free: whole(u.Free), Resting: whole(math.Ceil(u.Rests)),
			}
			if u.IPv4 {
				one.Family = "IPv4"
			}
			what := fmt.Sprintf("%s /%d for %s of class %s", one.Family, u.Bits, u.Use, class.Name)
			if one.Free == 0 {
				none = append(none, what)
			}
			if !u.Runout.IsZero() {
				// To the hour: a status that changes with the clock would feed itself.
				at := metav1.NewTime(u.Runout.Truncate(24 * time.Hour))
				one.RunsOut = &at
				if one.Free > 0 && u.Runout.Sub(s.now) < soon {
					ending = append(ending, fmt.Sprintf("%s on %s", what, at.UTC().Format(time.DateOnly)))
				}
			}
			all = append(all, one)
		}
	}
	s.object.Status.Usage = all
	switch {
	case len(none) > 0:
		return false, v1alpha1.ReasonFleetPoolExhausted, "nothing is left of " + bounded(none) + ": add to spec.pools, or delete Clusters"
	case len(ending) > 0:
		return true, v1alpha1.ReasonFleetPoolRunsOut, "if Clusters come as in the last 30 days, these run out: " + bounded(ending)
	}
	return true, v1alpha1.ReasonFleetPoolAvailable, "there are ranges for every class of clusters"
}

func whole(n float64) int64 {
	if n >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(n)
}

// disjoint reports addresses that two clusters have. Ranges for Services never leave a cluster:
// two that are the same harm nobody.
func (s *scope) disjoint() {
	var found []string
	for _, c := range s.page.Book.Conflicts() {
		if c.Ra.Use != addressing.Services || c.Rb.Use != addressing.Services {
			found = append(found, c.String())
		}
	}
	if len(found) > 0 {
		s.set(v1alpha1.ConditionDisjoint, false, v1alpha1.ReasonOverlaps, bounded(found))
		return
	}
	s.set(v1alpha1.ConditionDisjoint, true, v1alpha1.ReasonDisjoint, "no two clusters have addresses for pods or load balancers in common")
}

func bounded(all []string) string {
	if len(all) <= maxNamed {
		return strings.Join(all, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(all[:maxNamed], "; "), len(all)-maxNamed)
}

func (s *scope) set(kind string, is bool, reason, message string) {
	status := metav1.ConditionFalse
	if is {
		status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(&s.object.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: s.object.Generation,
	})
}
