// SPDX-License-Identifier: Apache-2.0

package release

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

func keyOf(name string) client.ObjectKey { return client.ObjectKey{Name: name} }

// without is a catalogue that lacks the wanted version.
func (s *story) without() { s.chart = nil }

func TestAVersionWithoutAChartComesFromTheHistory(t *testing.T) {
	s := begin(t)
	s.keep = "p1"
	s.expect(Absent, Install)
	chart := s.chart
	for i := 2; i < 9; i++ {
		s.plan = fmt.Sprint("p", i)
		s.set("mtu", 1300+i)
		s.expect(Outdated, Upgrade)
	}
	if got := s.history(); got != "1:superseded 5:superseded 6:superseded 7:superseded 8:deployed" {
		t.Errorf("the history is %q: want the newest five, and among them the one that was proven", got)
	}
	s.without()
	s.expect(Current, None)

	s.plan = "p1"
	s.expect(Outdated, Rollback)
	s.expect(Current, None)
	s.agentsHave(0)
	if got := s.history(); !strings.HasSuffix(got, "8:superseded 9:deployed") {
		t.Errorf("the history is %q", got)
	}
	if r := s.observe().Release(); r.Digest != "d-0" || r.Plan != "p1" {
		t.Errorf("the labels are not those of what is gone back to: %+v", r)
	}
	// Drift is put right without a chart, too.
	s.delete(s.agents())
	s.expect(Drifted, Repair)
	s.agentsHave(0)

	s.plan = "never-there"
	s.expect(Outdated, None)
	s.chart = chart
	s.expect(Outdated, Upgrade)
}

func TestTheSameObjectsUnderAnotherPlan(t *testing.T) {
	s := begin(t)
	s.expect(Absent, Install)
	generation := s.agents().Generation
	s.plan = "p2"
	s.expect(Unmarked, Adopt)
	s.expect(Current, None)
	if got := s.history(); got != "1:deployed" {
		t.Errorf("the history is %q", got)
	}
	s.keep, s.plan = "p2", "p3"
	s.expect(Unmarked, Adopt)
	s.expect(Current, None)
	if got := s.history(); got != "1:superseded 2:deployed" {
		t.Errorf("the history is %q: the revision that was proven has to stay", got)
	}
	s.without()
	s.plan = "p2"
	s.expect(Outdated, Rollback)
	s.expect(Current, None)
	if got := s.agents().Generation - generation; got != 0 {
		t.Errorf("the agents were changed %d times", got)
	}
}
