// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

// sink is a receiver of CloudEvents: it answers with the codes that it was given, in turn,
// and with 202 after the last.
type sink struct {
	*httptest.Server
	mu       sync.Mutex
	answers  []int
	hold     chan struct{}
	attempts int
	got      []cloudevents.Event
	tokens   []string
}

func newSink(t *testing.T, answers ...int) *sink {
	s := &sink{answers: answers}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.hold != nil {
			<-s.hold
		}
		event, err := cloudevents.NewEventFromHTTPRequest(r)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.attempts++
		s.tokens = append(s.tokens, r.Header.Get("Authorization"))
		if len(s.answers) > 0 {
			w.WriteHeader(s.answers[0])
			s.answers = s.answers[1:]
			return
		}
		if err != nil {
			t.Errorf("what came is no CloudEvent: %v", err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.got = append(s.got, *event)
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *sink) received() (events []cloudevents.Event, attempts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]cloudevents.Event(nil), s.got...), s.attempts
}

// start runs a notifier for the length of the test.
func start(t *testing.T, o Options) *Notifier {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	transport := &http.Transport{}
	o.pause, o.Transport = time.Millisecond, transport
	n, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
		goleak.VerifyNone(t, leaks)
	})
	return n
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for !holds() {
		select {
		case <-deadline:
			t.Fatal("not within 10 s: " + what)
		case <-time.After(time.Millisecond):
		}
	}
}

var passed = Event{
	Type: "rollout.wave.passed", Namespace: "fleet", Stack: "production", Wave: "canary", Revision: "r1", Attempt: 1,
	Reason: "WavePassed", Message: "wave canary has passed", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
}

func TestAnEventArrivesAlthoughTheSinkFailsFirst(t *testing.T) {
	s := newSink(t, http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusUnauthorized)
	n := start(t, Options{Sink: s.URL + "/hook"})
	n.Notify(passed)
	complete := passed
	complete.Type, complete.Wave = "rollout.complete", ""
	n.Notify(complete)
	eventually(t, "both events arrive", func() bool { got, _ := s.received(); return len(got) == 2 })
	got, attempts := s.received()
	e := got[0]
	if attempts != 5 || e.Type() != "io.fairlead.rollout.wave.passed" || e.Source() != "/fairlead/namespaces/fleet/networkstacks/production" ||
		e.Subject() != "waves/canary" || e.ID() != passed.ID() || !e.Time().Equal(passed.Time) || e.SpecVersion() != "1.0" {
		t.Errorf("after %d attempts: %s", attempts, e)
	}
	for _, want := range []string{`"stack":"production"`, `"wave":"canary"`, `"revision":"r1"`, `"reason":"WavePassed"`, `"message":"wave canary has passed"`} {
		if !strings.Contains(string(e.Data()), want) {
			t.Errorf("the data lacks %s: %s", want, e.Data())
		}
	}
	if got[1].Type() != "io.fairlead.rollout.complete" {
		t.Errorf("the order is lost: %s", got[1])
	}
	eventually(t, "metrics say so", func() bool {
		return testutil.ToFloat64(n.metrics.sent) == 2 && testutil.ToFloat64(n.metrics.retries) == 3
	})
}

func TestAnEventHasTheSameIDFromEveryOperator(t *testing.T) {
	again := passed
	again.Time, again.Message = time.Now(), "told by another operator, in other words"
	if again.ID() != passed.ID() {
		t.Error("what is the same event has another ID")
	}
	seen := map[string]string{passed.ID(): "the event"}
	for name, change := range map[string]func(*Event){
		"type": func(e *Event) { e.Type = "x" }, "namespace": func(e *Event) { e.Namespace = "x" }, "stack": func(e *Event) { e.Stack = "x" },
		"wave": func(e *Event) { e.Wave = "x" }, "cluster": func(e *Event) { e.Cluster = "x" }, "revision": func(e *Event) { e.Revision = "x" },
		"attempt": func(e *Event) { e.Attempt = 2 }, "reason": func(e *Event) { e.Reason = "x" }, "occurrence": func(e *Event) { e.Occurrence = "x" },
	} {
		e := passed
		change(&e)
		if other, ok := seen[e.ID()]; ok {
			t.Errorf("another %s has the ID of %s", name, other)
		}
		seen[e.ID()] = name
	}
}

func TestNobodyWaitsForTheSink(t *testing.T) {
	s := newSink(t)
	s.hold = make(chan struct{})
	defer close(s.hold)
	n, err := New(Options{Sink: s.URL, Queue: 4})
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	for range 10000 {
		n.Notify(passed)
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("10,000 events took %s", took)
	}
	if got := testutil.ToFloat64(n.metrics.dropped.WithLabelValues("queue_full")); got != 9996 {
		t.Errorf("%v dropped, want 9996", got)
	}
	if got := testutil.ToFloat64(n.metrics.queued); got != 4 {
		t.Errorf("%v wait", got)
	}
	var none *Notifier
	none.Notify(passed)
}

func TestWhatASinkWillNotTakeIsDropped(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		options      Options
		answers      []int
	}{
		{"it refuses", "refused", Options{}, []int{http.StatusBadRequest}},
		{"it sends elsewhere", "refused", Options{}, []int{http.StatusFound}},
		{"it is away for too long", "sink_away", Options{Patience: 20 * time.Millisecond}, func() (out []int) {
			for range 1000 {
				out = append(out, http.StatusBadGateway)
			}
			return out
		}()},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSink(t, c.answers...)
			c.options.Sink = s.URL
			n := start(t, c.options)
			n.Notify(passed)
			eventually(t, "the event is dropped", func() bool { return testutil.ToFloat64(n.metrics.dropped.WithLabelValues(c.reason)) == 1 })
		})
	}
	t.Run("there is none", func(t *testing.T) {
		s := newSink(t)
		s.Close()
		n := start(t, Options{Sink: s.URL, Patience: 20 * time.Millisecond})
		n.Notify(passed)
		eventually(t, "the event is dropped", func() bool { return testutil.ToFloat64(n.metrics.dropped.WithLabelValues("sink_away")) == 1 })
	})
}

func TestTheTokenIsReadAnewAndNeverLogged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first-secret")
	var log bytes.Buffer
	s := newSink(t, http.StatusUnauthorized, http.StatusBadRequest)
	n := start(t, Options{Sink: s.URL + "/path-secret?key=query-secret", BearerFile: file, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	n.Notify(passed)
	eventually(t, "the event is dropped", func() bool { return testutil.ToFloat64(n.metrics.dropped.WithLabelValues("refused")) == 1 })
	write("second-secret")
	n.Notify(passed)
	eventually(t, "the next arrives", func() bool { got, _ := s.received(); return len(got) == 1 })
	if got := fmt.Sprint(s.tokens); got != "[Bearer first-secret Bearer first-secret Bearer second-secret]" {
		t.Errorf("got %s", got)
	}
	if strings.Contains(log.String(), "secret") || !strings.Contains(log.String(), "An event was dropped") {
		t.Errorf("the log: %s", log.String())
	}
}

func TestOptionsThatAreWrongAreNamed(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		options Options
		want    string
	}{
		{"no URL", Options{Sink: "http://a b"}, "--cloudevents-sink is no URL"},
		{"another scheme", Options{Sink: "ftp://example.com"}, "must begin with https://"},
		{"no host", Options{Sink: "https:///x"}, "name a host"},
		{"credentials", Options{Sink: "https://me:secret@example.com"}, "--cloudevents-bearer-file"},
		{"a token in the clear", Options{Sink: "http://example.com", BearerFile: empty}, "in the clear"},
		{"no token", Options{Sink: "https://example.com", BearerFile: empty}, "does not hold one line"},
		{"no file", Options{Sink: "https://example.com", BearerFile: empty + "x"}, "--cloudevents-bearer-file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := New(c.options); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
