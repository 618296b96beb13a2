// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

const (
	wholeDay = 24 * time.Hour
	// horizon is how far ahead the next opening is looked for: a week and the day that
	// a change of the clocks may cost.
	horizon = 8
)

// window is a ChangeWindow that was read.
type window struct {
	days                []v1alpha1.Weekday
	hour, minute        int
	duration            time.Duration
	zone                *time.Location
	notBefore, notAfter time.Time
}

// RolloutError is a field of spec.rollout that cannot be acted on.
type RolloutError struct {
	Stack, Field, Fault string
}

func (e *RolloutError) Error() string {
	return fmt.Sprintf("%s of NetworkStack %q %s", e.Field, e.Stack, e.Fault)
}

// readWindows reads a stack's windows. The error is a *RolloutError.
func readWindows(s *v1alpha1.NetworkStack) ([]window, error) {
	out := make([]window, 0, len(s.Spec.Rollout.Windows))
	for i, w := range s.Spec.Rollout.Windows {
		bad := func(field, fault string) error {
			return &RolloutError{Stack: s.Name, Field: fmt.Sprintf("spec.rollout.windows[%d].%s", i, field), Fault: fault}
		}
		r := window{days: w.Days, duration: wholeDay, zone: time.UTC}
		if w.Start != "" {
			at, err := time.Parse("15:04", w.Start)
			if err != nil {
				return nil, bad("start", fmt.Sprintf("is %q, which is no time of day: write it like 22:00", w.Start))
			}
			r.hour, r.minute = at.Hour(), at.Minute()
		}
		if w.Duration != nil {
			r.duration = w.Duration.Duration
		}
		if r.duration <= 0 || r.duration > wholeDay {
			return nil, bad("duration", fmt.Sprintf("is %s: set it to more than 0 and at most 24h", r.duration))
		}
		if w.TimeZone != "" {
			zone, err := time.LoadLocation(w.TimeZone)
			if err != nil || w.TimeZone == "Local" {
				return nil, bad("timeZone", fmt.Sprintf("is %q, which is no time zone: use an IANA name such as Europe/Berlin", w.TimeZone))
			}
			r.zone = zone
		}
		if w.NotBefore != nil {
			r.notBefore = w.NotBefore.Time
		}
		if w.NotAfter != nil {
			r.notAfter = w.NotAfter.Time
		}
		out = append(out, r)
	}
	return out, nil
}

// opens says from when on clusters may begin: now when a window is open or there is
// none, else the next opening. ok is false when no window ever opens again.
func opens(windows []window, now time.Time) (at time.Time, ok bool) {
	if len(windows) == 0 {
		return now, true
	}
	for _, w := range windows {
		next, will := w.next(now)
		if will && (!ok || next.Before(at)) {
			at, ok = next, true
		}
	}
	return at, ok
}

// next is now while the window is open, else when it opens.
func (w window) next(now time.Time) (time.Time, bool) {
	from := now
	if w.notBefore.After(from) {
		from = w.notBefore
	}
	if !w.notAfter.IsZero() && !from.Before(w.notAfter) {
		return time.Time{}, false
	}
	local := from.In(w.zone)
	for day := -1; day <= horizon; day++ {
		start := time.Date(local.Year(), local.Month(), local.Day()+day, w.hour, w.minute, 0, 0, w.zone)
		if len(w.days) > 0 && !slices.Contains(w.days, v1alpha1.Weekday(start.Weekday().String()[:3])) {
			continue
		}
		end := start.Add(w.duration)
		if w.hour == 0 && w.minute == 0 && w.duration == wholeDay {
			// A whole day has 23 or 25 hours when the clocks change.
			end = time.Date(start.Year(), start.Month(), start.Day()+1, 0, 0, 0, 0, w.zone)
		}
		if !from.Before(end) {
			continue
		}
		if start.Before(from) {
			start = from
		}
		if !w.notAfter.IsZero() && !start.Before(w.notAfter) {
			return time.Time{}, false
		}
		return start, true
	}
	return time.Time{}, false
}
