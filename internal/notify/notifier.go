// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// defaultQueue is how many events wait, defaultPatience how long one is tried.
	defaultQueue    = 1024
	defaultPatience = 15 * time.Minute
	// firstPause is the time between the first two attempts; it doubles up to lastPause.
	firstPause = time.Second
	lastPause  = time.Minute
	// answerTime is what a sink gets to answer an attempt.
	answerTime = 10 * time.Second
)

// Options say where events go.
type Options struct {
	// Sink is the URL that events are posted to.
	Sink string
	// BearerFile holds a token for the sink, read for each attempt, since tokens change.
	// Empty: none.
	BearerFile string
	// Source is what the events' sources begin with, such as the management cluster's
	// name as a URI. Empty: "/fairlead".
	Source string
	// Queue is how many events may wait; 0: 1,024. Patience is how long one is tried
	// before it is dropped; 0: 15 minutes.
	Queue    int
	Patience time.Duration
	Log      *slog.Logger
	// Transport reaches the sink; nil: http.DefaultTransport.
	Transport http.RoundTripper

	// pause is firstPause, shorter in tests.
	pause time.Duration
}

// Notifier sends events, one after another, in their order.
type Notifier struct {
	options Options
	client  cloudevents.Client
	queue   chan queued
	metrics *metrics
}

type queued struct {
	event Event
	since time.Time
}

// New makes a notifier; nothing is sent before Start. Errors name the flag that is wrong.
func New(o Options) (*Notifier, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	protocol, err := cehttp.New(cehttp.WithTarget(o.Sink), cehttp.WithClient(http.Client{
		Transport: &bearer{file: o.BearerFile, next: o.Transport},
		Timeout:   answerTime,
		// A token goes to the sink that was named and to nobody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}))
	if err != nil {
		return nil, fmt.Errorf("--cloudevents-sink: %w", err)
	}
	client, err := cloudevents.NewClient(protocol)
	if err != nil {
		return nil, fmt.Errorf("--cloudevents-sink: %w", err)
	}
	n := &Notifier{options: o, client: client, queue: make(chan queued, o.Queue)}
	n.metrics = newMetrics(func() float64 { return float64(len(n.queue)) })
	return n, nil
}

// Collector has the notifier's metrics.
func (n *Notifier) Collector() prometheus.Collector { return n.metrics }

// Notify has an event sent, and returns at once. A nil notifier sends nothing.
func (n *Notifier) Notify(e Event) {
	if n == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	select {
	case n.queue <- queued{e, time.Now()}:
	default:
		n.drop(e, "queue_full", errors.New("too many events wait"))
	}
}

// NeedLeaderElection is the manager's question: only who acts has something to tell.
func (n *Notifier) NeedLeaderElection() bool { return true }

// Start sends events until ctx ends. What waits then is lost: the next operator tells what
// it finds.
func (n *Notifier) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case q := <-n.queue:
			n.deliver(ctx, q)
		}
	}
}

// deliver tries an event until the sink has it, refuses it, or patience is over.
func (n *Notifier) deliver(ctx context.Context, q queued) {
	event, err := q.event.cloudEvent(n.options.Source)
	if err != nil {
		n.drop(q.event, "invalid", err)
		return
	}
	for pause := n.options.pause; ; pause = min(2*pause, lastPause) {
		err := n.post(ctx, event)
		switch {
		case err == nil:
			n.metrics.sent.Inc()
			return
		case ctx.Err() != nil:
			return
		case errors.Is(err, errRefused):
			n.drop(q.event, "refused", err)
			return
		case time.Since(q.since)+pause > n.options.Patience:
			n.drop(q.event, "sink_away", err)
			return
		}
		n.metrics.retries.Inc()
		n.options.Log.Debug("Sending an event failed; it is tried again", "type", q.event.Type, "after", pause, "error", err.Error())
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// errRefused says that the sink will not take an event, however often it is sent.
var errRefused = errors.New("the sink refuses the event")

// post sends an event once.
func (n *Notifier) post(ctx context.Context, event cloudevents.Event) error {
	result := n.client.Send(ctx, event)
	var answer *cehttp.Result
	switch {
	case !cloudevents.ResultAs(result, &answer):
		if cloudevents.IsACK(result) {
			return nil
		}
		// The address may hold a secret: what failed is said, and not where.
		return fmt.Errorf("the sink cannot be reached: %w", withoutURL(result))
	case answer.StatusCode/100 == 2:
		return nil
	case answer.StatusCode/100 == 5, answer.StatusCode == http.StatusTooManyRequests, answer.StatusCode == http.StatusRequestTimeout,
		// A token that has just been replaced, or a sink that is being set up.
		answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusNotFound:
		return fmt.Errorf("the sink answers %d", answer.StatusCode)
	}
	return fmt.Errorf("%w: it answers %d", errRefused, answer.StatusCode)
}

func (n *Notifier) drop(e Event, reason string, why error) {
	n.metrics.dropped.WithLabelValues(reason).Inc()
	n.options.Log.Warn("An event was dropped", "type", e.Type, "namespace", e.Namespace, "stack", e.Stack, "wave", e.Wave, "reason", reason, "error", why.Error())
}
