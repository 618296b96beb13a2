// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

func TestWindowsOpen(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	hours := func(n int) *metav1.Duration { return &metav1.Duration{Duration: time.Duration(n) * time.Hour} }
	date := func(s string) *metav1.Time { return &metav1.Time{Time: at(s)} }
	nights := v1alpha1.ChangeWindow{Days: []v1alpha1.Weekday{"Mon", "Tue"}, Start: "22:00", Duration: hours(6), TimeZone: "Europe/Berlin"}
	for _, c := range []struct {
		name      string
		windows   []v1alpha1.ChangeWindow
		now, want string // want is empty for never
	}{
		{"no window: always", nil, "2026-11-26T10:00:00Z", "2026-11-26T10:00:00Z"},
		{"before it opens, in its zone", []v1alpha1.ChangeWindow{nights}, "2026-11-30T20:00:00Z", "2026-11-30T21:00:00Z"},
		{"while it is open", []v1alpha1.ChangeWindow{nights}, "2026-11-30T22:30:00Z", "2026-11-30T22:30:00Z"},
		{"after midnight it is still open", []v1alpha1.ChangeWindow{nights}, "2026-12-02T02:30:00Z", "2026-12-02T02:30:00Z"},
		{"after it the next week's opens", []v1alpha1.ChangeWindow{nights}, "2026-12-02T03:00:00Z", "2026-12-07T21:00:00Z"},
		{"summer time shifts it", []v1alpha1.ChangeWindow{nights}, "2026-07-06T18:00:00Z", "2026-07-06T20:00:00Z"},
		{"the first of several", []v1alpha1.ChangeWindow{nights, {Days: []v1alpha1.Weekday{"Sun"}, Start: "10:00", Duration: hours(1)}},
			"2026-11-28T00:00:00Z", "2026-11-29T10:00:00Z"},
		{"dates alone", []v1alpha1.ChangeWindow{{NotBefore: date("2026-12-24T00:00:00Z"), NotAfter: date("2026-12-25T00:00:00Z")}},
			"2026-11-28T00:00:00Z", "2026-12-24T00:00:00Z"},
		{"in the past: never", []v1alpha1.ChangeWindow{{NotAfter: date("2026-01-01T00:00:00Z")}}, "2026-11-28T00:00:00Z", ""},
		{"over before its day comes: never", []v1alpha1.ChangeWindow{{Days: []v1alpha1.Weekday{"Sun"}, NotAfter: date("2026-11-28T12:00:00Z")}}, "2026-11-28T00:00:00Z", ""},
		{"whole days", []v1alpha1.ChangeWindow{{Days: []v1alpha1.Weekday{"Sat"}}}, "2026-11-28T23:59:59Z", "2026-11-28T23:59:59Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := lab("a", 0, "lab")
			s.Spec.Rollout.Windows = c.windows
			windows, err := readWindows(&s)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := opens(windows, at(c.now))
			if c.want == "" {
				if ok {
					t.Errorf("opens at %s, want never", got)
				}
				return
			}
			if !ok || !got.Equal(at(c.want)) {
				t.Errorf("opens at %s (%v), want %s", got, ok, c.want)
			}
		})
	}
}

func TestRolloutsThatCannotBeActedOn(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*v1alpha1.RolloutSpec)
		want   string
	}{
		{"a time zone that is none", func(r *v1alpha1.RolloutSpec) { r.Windows = []v1alpha1.ChangeWindow{{TimeZone: "Europe/Nowhere"}} },
			`spec.rollout.windows[0].timeZone of NetworkStack "a" is "Europe/Nowhere", which is no time zone: use an IANA name`},
		{"a time that is none", func(r *v1alpha1.RolloutSpec) { r.Windows = []v1alpha1.ChangeWindow{{}, {Start: "25:00"}} },
			"spec.rollout.windows[1].start"},
		{"a wave's selector", func(r *v1alpha1.RolloutSpec) {
			r.Waves = []v1alpha1.WaveSpec{{Name: "one", ClusterSelector: metav1.LabelSelector{
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Maybe"}},
			}}}
		}, "clusterSelector of spec.rollout.waves[name=one]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := lab("a", 0, "lab")
			c.change(&s.Spec.Rollout)
			_, err := Make(&s, nil, nil, Versions{Own: carried})
			var invalid *RolloutError
			if !errors.As(err, &invalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestADowngradeIsRefused(t *testing.T) {
	w := fleet(t, 2, "one")
	w.settle()
	w.upgrade("v0.2.0")
	w.settle()
	w.upgrade("v0.1.0")
	plan, err := Make(w.stack, nil, w.clusters, Versions{Own: "v0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	err = CheckDowngrade(w.stack, plan, w.stacks)
	if err == nil || !strings.Contains(err.Error(), "2 of its clusters (one-0, for one) run v0.2.0") {
		t.Errorf("got %v", err)
	}
	w.stack.Spec.Rollout.AllowDowngrade = true
	if err := CheckDowngrade(w.stack, plan, w.stacks); err != nil {
		t.Errorf("allowed, and got %v", err)
	}
}
