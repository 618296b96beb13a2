// SPDX-License-Identifier: Apache-2.0

package release

import (
	"errors"
	"testing"
)

// TestAnAPIServerThatBeginsAnew says so once, and nothing that was known of it counts.
func TestAnAPIServerThatBeginsAnew(t *testing.T) {
	m := &Memory{}
	m.learn("70", Release{Name: "r"})
	for _, c := range []struct {
		name, version string
		rewound       bool
	}{
		{"the first list", "100", false},
		{"nothing was written", "100", false},
		{"something was", "120", false},
		{"versions of another kind", "x7", false},
		{"no version", "", false},
		{"its etcd is empty", "3", true},
		{"it was said", "3", false},
		{"it goes on", "4", false},
	} {
		if got := m.rewound(c.version); got != c.rewound {
			t.Errorf("%s: it was taken to have begun anew: %t", c.name, got)
		}
	}
	if m.version != "" || m.release.Name != "" {
		t.Errorf("it is still known that %+v is of version %s", m.release, m.version)
	}
}

// TestAClusterThatLostItsObjectsIsInstalledAnew is one whose API server was given an empty
// etcd while the operator ran: marks and records that it remembers are of objects that were.
func TestAClusterThatLostItsObjectsIsInstalledAnew(t *testing.T) {
	s := begin(t)
	s.settle()
	s.memory.at *= 1000 // as if a lot had been written before
	wipe(t)
	if _, _, err := s.step(); !errors.Is(err, ErrRewound) {
		t.Fatalf("the cluster has begun anew, and a look at it says %v", err)
	}
	s.expect(Absent, Install)
	s.agentsHave(0)
	s.expect(Current, None)
}
