// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// refusal is a resource in quarantine: its content is not sent again until it
// changes, or until its next try is due.
type refusal struct {
	version string // refused content; empty for a removal
	message string
	at      time.Time
	next    time.Time // when to try again
	pause   time.Duration
	trying  bool // the next response may hold it once more
}

// isolation is the search for the culprits in a refused response.
type isolation struct {
	groups   [][]string // to be sent one after the other
	suspects []string   // refused when alone
	progress bool       // something was acknowledged since the first suspect
	again    bool       // the suspects are having their second turn
}

// nack notes a refusal of the response in flight and what follows from it: a
// response of several is halved, one of one is the culprit.
func (s *subscription) nack(message string, now time.Time) {
	b := s.inflight
	s.inflight = nil
	names := b.names()
	switch {
	case len(names) == 0:
		s.refuse("", "", message, now)
	case len(names) == 1:
		s.refuse(names[0], b.version[names[0]], message, now)
		if s.round != nil && !s.round.again {
			if len(s.round.suspects) == 0 {
				s.round.progress = false
			}
			s.round.suspects = append(s.round.suspects, names[0])
		}
	default:
		if s.round == nil {
			s.round = &isolation{}
		}
		half := len(names) / 2
		s.round.groups = append([][]string{names[:half], names[half:]}, s.round.groups...)
	}
}

// refuse puts a resource into quarantine, for longer each time the same content is refused.
func (s *subscription) refuse(name, version, message string, now time.Time) {
	delete(s.unheard, name)
	r := s.refused[name]
	if r == nil || r.version != version {
		r = &refusal{version: version, pause: s.opts.RetryRefused}
		s.refused[name] = r
	} else if r.trying {
		r.pause = min(2*r.pause, s.opts.MaxRetryRefused)
	}
	r.message, r.at, r.next, r.trying = message, now, now.Add(r.pause), false
}

// nextOfRound gives the next group of the search. When the groups are through, the
// suspects get one more turn if others got through after the first of them was
// refused: it may have been in conflict with the old content of one of those.
func (s *subscription) nextOfRound() *batch {
	for s.round != nil {
		if len(s.round.groups) == 0 {
			if s.round.again || !s.round.progress || len(s.round.suspects) == 0 {
				s.round = nil
				return nil
			}
			for _, name := range s.round.suspects {
				if r := s.refused[name]; r != nil {
					r.trying = true
					r.pause /= 2 // not a failed retry yet
				}
				s.round.groups = append(s.round.groups, []string{name})
			}
			s.round.again = true
		}
		group := s.round.groups[0]
		s.round.groups = s.round.groups[1:]
		b := &batch{}
		for _, name := range group {
			s.include(b, name)
		}
		if len(b.version)+len(b.removed) > 0 {
			return b
		}
	}
	return nil
}

// retry releases the refusals whose time has come and returns when the next one's
// will; zero if there is none.
func (s *subscription) retry(now time.Time) (next time.Time) {
	for name, r := range s.refused {
		if r.trying {
			continue
		}
		if !r.next.After(now) {
			r.trying = true
			if name == "" {
				s.first = true // ask for an opinion on the empty response again
				continue
			}
			s.dirty[name] = struct{}{}
			continue
		}
		if next.IsZero() || r.next.Before(next) {
			next = r.next
		}
	}
	return next
}

// refusals are the quarantined resources, sorted by name.
func (s *subscription) refusals() []Refusal {
	out := make([]Refusal, 0, len(s.refused))
	for name, r := range s.refused {
		out = append(out, Refusal{Type: s.typeURL, Name: name, Version: r.version, Message: r.message, At: r.at})
	}
	slices.SortFunc(out, func(a, b Refusal) int { return cmp.Or(strings.Compare(a.Name, b.Name)) })
	return out
}
