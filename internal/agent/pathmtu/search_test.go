// SPDX-License-Identifier: Apache-2.0

package pathmtu

import (
	"slices"
	"testing"
)

// road is a network that carries packets up to a size. What is larger is refused by a
// router that names the size, by one that does not, or is dropped in silence.
type road struct {
	carries int
	refuses bool
	names   bool
	filter  bool         // the peer answers nothing
	loses   map[int]bool // packets, by their number from 0, that are lost
}

// travel runs a search to its end and returns the sizes that were sent.
func (r road) travel(uplink int) (sent []int, found int) {
	s := newSearch(uplink)
	for size, more := s.next(); more; size, more = s.next() {
		lost := r.loses[len(sent)]
		sent = append(sent, size)
		switch {
		case r.filter || lost:
			s.note(Answer{})
		case size <= r.carries:
			s.note(Answer{Verdict: Arrived})
		case r.refuses && r.names:
			s.note(Answer{Verdict: TooLarge, Fits: r.carries})
		case r.refuses:
			s.note(Answer{Verdict: TooLarge})
		default:
			s.note(Answer{})
		}
	}
	return sent, s.result()
}

func TestSearch(t *testing.T) {
	for _, c := range []struct {
		name   string
		uplink int
		road   road
		found  int
		sent   []int
	}{
		{"all that leaves arrives: two packets", 1500, road{carries: 1500}, 1500, []int{1280, 1500}},
		{"an uplink of an unusual size", 8981, road{carries: 9000}, 8981, []int{1280, 8981}},
		{"a switch that drops what is too large", 9000, road{carries: 1500}, 1500,
			[]int{1280, 9000, 9000, 9000, 8900, 8900, 8900, 4000, 4000, 4000, 1500}},
		{"a router that says so", 1500, road{carries: 1450, refuses: true}, 1450, []int{1280, 1500, 1460, 1450}},
		{"a router that names an unusual size", 9000, road{carries: 1420, refuses: true, names: true}, 1420, []int{1280, 9000, 1420}},
		{"a router that names a size of the list", 9000, road{carries: 1400, refuses: true, names: true}, 1400, []int{1280, 9000, 1400}},
		{"only the least arrives", 1450, road{carries: 1300, refuses: true}, 1280, []int{1280, 1450, 1400}},
		{"a router that names less than arrived", 1500, road{carries: 1280, refuses: true, names: true}, 1280, []int{1280, 1500, 1460, 1450, 1400}},
		{"a peer behind a filter", 9000, road{filter: true}, 0, []int{1280, 1280, 1280}},
		{"less than IPv6 allows", 1500, road{carries: 1000, refuses: true, names: true}, 0, []int{1280}},
		{"the uplink itself has the least", 1280, road{carries: 1280}, 1280, []int{1280}},
		{"an uplink below all of the list", 576, road{carries: 576}, 576, []int{576}},
		{"lost packets are not narrow paths", 1500, road{carries: 1500, loses: map[int]bool{0: true, 1: true, 3: true, 4: true}}, 1500,
			[]int{1280, 1280, 1280, 1500, 1500, 1500}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sent, found := c.road.travel(c.uplink)
			if found != c.found || !slices.Equal(sent, c.sent) {
				t.Errorf("found %d by %v, want %d by %v", found, sent, c.found, c.sent)
			}
		})
	}
}

// Whatever a router says, the search ends, and says only what was seen to arrive.
func FuzzSearch(f *testing.F) {
	f.Add(9000, []byte{1, 0, 0, 2, 5})
	f.Add(68, []byte{2, 2, 2})
	f.Fuzz(func(t *testing.T, uplink int, answers []byte) {
		if uplink < 68 || uplink > 65535 {
			return
		}
		s := newSearch(uplink)
		arrived := map[int]bool{0: true}
		for n := 0; ; n++ {
			size, more := s.next()
			if !more {
				break
			}
			if n > 3*(len(usual)+2+len(answers)) {
				t.Fatalf("still asking for %d after %d packets", size, n)
			}
			if size > uplink || size < 1 {
				t.Fatalf("a packet of %d bytes by an uplink of %d", size, uplink)
			}
			a := Answer{}
			if n < len(answers) {
				a = Answer{Verdict: Verdict(answers[n] % 3), Fits: int(answers[n]) * 37}
			}
			if a.Verdict == Arrived {
				arrived[size] = true
			}
			s.note(a)
		}
		if !arrived[s.result()] {
			t.Errorf("%d was found, which never arrived", s.result())
		}
	})
}
