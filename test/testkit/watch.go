// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead-io/fairlead/test/reach"
)

// Watch is a reach.Watch in a pod.
type Watch struct {
	stop  func() error
	ended chan error // has the watch's error once it has ended

	mu      sync.Mutex
	last    map[string]reach.Change // by path
	changed chan struct{}           // closed at each change, and made anew
}

// StartWatch watches paths from a pod, until Stop or the end of the context.
func (l *Lab) StartWatch(ctx context.Context, cluster, namespace, pod string, cfg reach.Config) (*Watch, error) {
	arg, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	in, hold := io.Pipe()
	lines, out := io.Pipe()
	w := &Watch{stop: hold.Close, ended: make(chan error, 1), last: map[string]reach.Change{}, changed: make(chan struct{})}
	go func() {
		err := l.execIn(ctx, cluster, namespace, pod, []string{"/probe", "reach", string(arg)}, in, out)
		out.CloseWithError(err)
	}()
	go func() { w.ended <- w.read(lines) }()
	return w, nil
}

func (w *Watch) read(lines io.Reader) error {
	for dec := json.NewDecoder(lines); ; {
		var c reach.Change
		if err := dec.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		w.mu.Lock()
		w.last[c.Path] = c
		close(w.changed)
		w.changed = make(chan struct{})
		w.mu.Unlock()
	}
}

// Await waits until packets pass on paths, or do not, and returns when the last of them came to it,
// which may be long ago.
func (w *Watch) Await(ctx context.Context, passes bool, paths ...string) (time.Time, error) {
	for {
		w.mu.Lock()
		missing, latest, changed := w.otherThan(passes, paths), int64(0), w.changed
		for _, p := range paths {
			latest = max(latest, w.last[p].At)
		}
		w.mu.Unlock()
		if len(missing) == 0 {
			return time.Unix(0, latest), nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("packets pass on %v: want %v: %w", missing, passes, ctx.Err())
		case err := <-w.ended:
			w.ended <- err
			return time.Time{}, fmt.Errorf("the watch has ended: %w", errors.Join(err, io.ErrUnexpectedEOF))
		case <-changed:
		}
	}
}

// otherThan are paths of which it is not known that packets pass, or that they do not.
func (w *Watch) otherThan(passes bool, paths []string) (others []string) {
	for _, p := range paths {
		if c, known := w.last[p]; !known || c.Passes != passes {
			others = append(others, p)
		}
	}
	return others
}

// Passing returns the paths on which packets pass now, sorted.
func (w *Watch) Passing() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, p := range slices.Sorted(maps.Keys(w.last)) {
		if w.last[p].Passes {
			out = append(out, p)
		}
	}
	return out
}

// Stop ends the watch and returns what came of each path.
func (w *Watch) Stop() (map[string]reach.Change, error) {
	err := errors.Join(w.stop(), w.wait())
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, c := range w.last {
		if !c.Done {
			err = errors.Join(err, fmt.Errorf("path %s did not come to its end", p))
		}
	}
	return w.last, err
}

// wait waits for the end.
func (w *Watch) wait() error {
	err := <-w.ended
	w.ended <- err
	return err
}

// Seen asks a server of package reach in a pod what has arrived there.
func (l *Lab) Seen(ctx context.Context, cluster, namespace, pod string, port int) (reach.Seen, error) {
	var out bytes.Buffer
	if err := l.execIn(ctx, cluster, namespace, pod, []string{"/probe", "reach-seen", strconv.Itoa(port)}, nil, &out); err != nil {
		return nil, err
	}
	seen := reach.Seen{}
	return seen, json.Unmarshal(out.Bytes(), &seen)
}
