// SPDX-License-Identifier: Apache-2.0

package pathmtu

import "slices"

// usual are the sizes tried, in bytes of a whole IP packet, largest first: jumbo frames
// and those less a tunnel's header, two classic large ones, Ethernet, what clouds and
// tunnels leave of it, and the least of IPv6 (RFC 8200, section 5).
var usual = []int{9000, 8900, 4000, 1500, 1460, 1450, 1400, 1280}

// attempts is how often a size is tried that is not answered: one lost packet must not
// make a path look narrow.
const attempts = 3

// Verdict is what became of one packet.
type Verdict int

const (
	// Silent says that no answer came in time.
	Silent Verdict = iota
	// Arrived says that the peer answered.
	Arrived
	// TooLarge says that this machine, or one on the way, refused the packet's size.
	TooLarge
)

// Answer is what became of one packet. Fits, when the verdict is TooLarge, is the size
// that the refusing machine says it passes on; 0 when it says none.
type Answer struct {
	Verdict Verdict
	Fits    int
}

// search is the search for the largest packet to one peer. It first asks whether the
// peer answers at all, with the least size, and then goes from the largest down.
type search struct {
	sizes   []int // still to try, largest first; the last one is known to arrive once asked
	size    int   // tried now
	left    int   // attempts that size has left
	greeted bool  // the least size arrived
	found   int
	done    bool
}

// newSearch starts a search below an uplink's MTU in bytes.
func newSearch(uplink int) *search {
	sizes := []int{uplink}
	for _, s := range usual {
		if s < uplink {
			sizes = append(sizes, s)
		}
	}
	return &search{sizes: sizes, size: sizes[len(sizes)-1], left: attempts}
}

// next returns the size of the packet to send, false when the search is over.
func (s *search) next() (int, bool) { return s.size, !s.done }

// result is the largest size that arrived, 0 when the peer answered nothing.
func (s *search) result() int { return s.found }

// note takes the answer to the packet that next asked for.
func (s *search) note(a Answer) {
	switch {
	case a.Verdict == Arrived && !s.greeted:
		s.greeted, s.found = true, s.size
		s.advance()
	case a.Verdict == Arrived:
		s.found, s.done = s.size, true
	case a.Verdict == Silent && s.left > 1:
		s.left--
	case !s.greeted:
		s.done = true
	default:
		if a.Verdict == TooLarge {
			s.skipTo(a.Fits)
		}
		s.advance()
	}
}

// advance goes on to the next smaller size that is not known to arrive.
func (s *search) advance() {
	if len(s.sizes) < 2 {
		s.done = true
		return
	}
	s.size, s.sizes, s.left = s.sizes[0], s.sizes[1:], attempts
}

// skipTo leaves out what a machine on the way says it cannot pass on, and tries exactly
// what it can.
func (s *search) skipTo(fits int) {
	if fits <= s.found || fits >= s.size {
		return
	}
	s.sizes = slices.DeleteFunc(s.sizes, func(size int) bool { return size >= fits })
	s.sizes = append([]int{fits}, s.sizes...)
}
