// SPDX-License-Identifier: Apache-2.0

// Package progress tells people what a long command is doing and for how long.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Interval is how often a step that lasts says that it still runs.
const Interval = 10 * time.Second

// Printer writes one line when a step ends, and one per Interval while it lasts. It may be used by
// several goroutines.
type Printer struct {
	mu    sync.Mutex
	out   io.Writer
	begun time.Time
}

// New returns a printer whose clock begins now.
func New(out io.Writer) *Printer { return &Printer{out: out, begun: time.Now()} }

// Step runs f and shows it under the name.
func (p *Printer) Step(name string, f func() error) error {
	start, done := time.Now(), make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() {
		ticker := time.NewTicker(Interval)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				p.Printf("  ..   %s (%s so far)", name, short(time.Since(start)))
			}
		}
	})
	err := f()
	close(done)
	ticking.Wait()
	if err != nil {
		p.Printf("  FAIL %s (%s)", name, short(time.Since(start)))
		return err
	}
	p.Printf("  ok   %s (%s)", name, short(time.Since(start)))
	return nil
}

// Printf writes one line.
func (p *Printer) Printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format+"\n", args...)
}

// Elapsed is the time since the printer was made, rounded for people.
func (p *Printer) Elapsed() string { return short(time.Since(p.begun)) }

func short(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
