// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Kinds of paths.
const (
	// UDP are datagrams of one socket.
	UDP = "udp"
	// Flow are messages on one TCP connection, which must be possible at the beginning. That it
	// passes again is told when an answer comes, some time after packets would pass.
	Flow = "flow"
	// New are TCP connections, each with one message.
	New = "new"
)

// Path is where packets are sent.
type Path struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	Server string `json:"server"` // HOST:PORT of a Server
	Stream uint64 `json:"stream"` // what the server counts it under
}

// Config says what is watched.
type Config struct {
	Paths []Path `json:"paths"`
	// Interval is how often a message is sent on each path; of New, how long a rest is.
	Interval time.Duration `json:"interval"`
	// Silence is how long nothing may be answered until a path is called closed. It does not
	// change the time that is reported then.
	Silence time.Duration `json:"silence"`
}

// Change says that packets pass on a path from now on, or do not.
type Change struct {
	Path   string `json:"path"`
	Passes bool   `json:"passes"`
	// At is when the first packet was sent of which that is true, in ns since 1970.
	At int64 `json:"at"`
	// Answered is how many messages have been.
	Answered uint64 `json:"answered"`
	// Done is of the last report on a path, which is not about a change; Sent is whole then.
	Done bool   `json:"done,omitempty"`
	Sent uint64 `json:"sent,omitempty"`
}

// Watch sends until ctx ends and calls report for each change, and at the end of each path, from one
// goroutine at a time. The first thing that is reported of a path is what it is at the beginning.
func Watch(ctx context.Context, cfg Config, report func(Change)) error {
	if cfg.Interval <= 0 || cfg.Silence <= 0 || len(cfg.Paths) == 0 {
		return errors.New("reach: a watch needs paths, an interval and a silence")
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	errs := make([]error, len(cfg.Paths))
	for i, p := range cfg.Paths {
		s := &state{path: p.Name, silence: cfg.Silence, report: func(c Change) {
			mu.Lock()
			defer mu.Unlock()
			report(c)
		}}
		run, ok := map[string]func(context.Context, Path, time.Duration, *state) error{UDP: datagrams, Flow: flow, New: connections}[p.Kind]
		if !ok {
			return fmt.Errorf("reach: path %s is of kind %q: want %s, %s or %s", p.Name, p.Kind, UDP, Flow, New)
		}
		group.Go(func() {
			if errs[i] = run(ctx, p, cfg.Interval, s); errs[i] != nil {
				errs[i] = fmt.Errorf("reach: path %s: %w", p.Name, errs[i])
			}
			s.end()
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// state follows one path.
type state struct {
	path    string
	silence time.Duration
	report  func(Change)

	mu             sync.Mutex
	known, passes  bool
	sent, answered uint64
	pending        time.Time // when the first message was sent that nothing has been answered since
}

// sending notes a message that is about to be sent.
func (s *state) sending(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent++
	if s.pending.IsZero() {
		s.pending = at
	}
}

// got notes an answer to what was sent at a time.
func (s *state) got(sent time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered++
	if !s.known || !s.passes {
		s.known, s.passes = true, true
		s.report(Change{Path: s.path, Passes: true, At: sent.UnixNano(), Answered: s.answered})
	}
	s.pending = time.Time{}
}

// closed says whether the path is known to be.
func (s *state) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known && !s.passes
}

// look calls the path closed when nothing has been answered for long enough.
func (s *state) look(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known && !s.passes || s.pending.IsZero() || now.Sub(s.pending) < s.silence {
		return
	}
	s.known, s.passes = true, false
	s.report(Change{Path: s.path, At: s.pending.UnixNano(), Answered: s.answered})
}

func (s *state) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report(Change{Path: s.path, Passes: s.passes, Answered: s.answered, Sent: s.sent, Done: true})
}
