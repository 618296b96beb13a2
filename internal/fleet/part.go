// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

const (
	// Backoff of what cannot be read.
	againFirst = time.Second
	againLast  = 30 * time.Second
	// watchFor is the least time that a watch is asked to last, and half of the most.
	watchFor = 5 * time.Minute
)

// errEnded is what a read gets when the connection is lost meanwhile.
var errEnded = errors.New("the connection to the cluster was lost")

// part follows the objects of a kind in one namespace, or in all.
type part struct {
	wire      *wire
	key       kindKey
	namespace string
	config    ctrlcache.Config
	// again ends a pause, because somebody waits.
	again chan struct{}
	// ended is closed when nothing is followed any more.
	ended <-chan struct{}

	mu      sync.Mutex
	objects map[client.ObjectKey]client.Object
	// version is the one that objects are of.
	version  string
	synced   bool
	err      error
	listener *listener
	// tried is closed when the list that is under way, or the next one, is through.
	tried chan struct{}
}

func newPart(ctx context.Context, w *wire, key kindKey, namespace string, c ctrlcache.Config) *part {
	return &part{
		wire: w, key: key, namespace: namespace, config: c, again: make(chan struct{}, 1), ended: ctx.Done(),
		tried: make(chan struct{}), objects: map[client.ObjectKey]client.Object{},
	}
}

// run lists and watches until ctx ends.
func (p *part) run(ctx context.Context) {
	pause := againFirst
	for ctx.Err() == nil {
		start := time.Now()
		err := p.list(ctx)
		p.attempted(err)
		if err == nil {
			p.follow(ctx)
		}
		if time.Since(start) > againLast {
			pause = againFirst
		}
		p.rest(ctx, pause)
		pause = min(2*pause, againLast)
	}
}

// rest waits for about d, or until somebody wants to read.
func (p *part) rest(ctx context.Context, d time.Duration) {
	// Those of a thousand clusters must not ask in step.
	t := time.NewTimer(d/2 + rand.N(d)) //nolint:gosec // no secret
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-p.again:
	}
}

// list reads all objects, and tells of what differs from those that were known.
func (p *part) list(ctx context.Context) error {
	found, version, err := p.wire.list(ctx, p)
	if err != nil {
		return err
	}
	p.mu.Lock()
	former := p.objects
	p.objects, p.version = found, version
	l := p.listener
	p.mu.Unlock()
	for key, o := range found {
		l.changed(former[key], o)
	}
	for key, o := range former {
		if found[key] == nil {
			l.changed(o, nil)
		}
	}
	return nil
}

// attempted takes note of how a list went.
func (p *part) attempted(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
	switch {
	case err == nil:
		p.synced = true
	case meta.IsNoMatchError(err):
		// What was known is gone with its kind.
		p.synced, p.objects = false, map[client.ObjectKey]client.Object{}
	}
	close(p.tried)
	p.tried = make(chan struct{})
}

// follow watches until all must be listed anew: a server that fails, or ends a watch before
// its time, may come back with another past, in which the version that is held is yet to come.
func (p *part) follow(ctx context.Context) {
	for ctx.Err() == nil {
		start := time.Now()
		last := watchFor + rand.N(watchFor) //nolint:gosec // no secret
		err := p.watch(ctx, last)
		if (err != nil && !errors.Is(err, io.EOF)) || time.Since(start) < last-againFirst {
			return
		}
	}
}

// watch takes events of one watch until it ends, which is asked for after last.
func (p *part) watch(ctx context.Context, last time.Duration) error {
	// A server that forgets to end it does not keep it.
	ctx, cancel := context.WithTimeout(ctx, last+requestTimeout)
	defer cancel()
	events, err := p.wire.watch(ctx, p, last)
	if err != nil {
		return err
	}
	defer events.Close()
	for {
		kind, o, err := events.Next()
		if err != nil {
			return err
		}
		if err := p.take(kind, o); err != nil {
			return err
		}
	}
}

// take takes one event in.
func (p *part) take(kind watch.EventType, o client.Object) error {
	version := o.GetResourceVersion()
	if kind == watch.Bookmark {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.version = version
		return nil
	}
	o, err := p.kept(o)
	if err != nil {
		return err
	}
	key := client.ObjectKeyFromObject(o)
	p.mu.Lock()
	former, l := p.objects[key], p.listener
	if p.version = version; kind == watch.Deleted {
		delete(p.objects, key)
	} else {
		p.objects[key] = o
	}
	p.mu.Unlock()
	if kind == watch.Deleted {
		l.changed(o, nil)
	} else {
		l.changed(former, o)
	}
	return nil
}

// kept is what is kept of an object.
func (p *part) kept(o client.Object) (client.Object, error) {
	t, err := p.config.Transform(o)
	if err != nil {
		return nil, err
	}
	kept, ok := t.(client.Object)
	if !ok {
		return nil, errors.New("the transformation of a kind must return an object")
	}
	return kept, nil
}

// wait waits until the objects were listed, or could not be. Somebody who waits has it tried
// at once.
func (p *part) wait(ctx context.Context) error {
	select {
	case <-p.ended:
		return errEnded
	default:
	}
	p.mu.Lock()
	synced, failed, tried := p.synced, p.err != nil, p.tried
	p.mu.Unlock()
	if synced {
		return nil
	}
	if failed {
		select {
		case p.again <- struct{}{}:
		default:
		}
	}
	select {
	case <-tried:
	case <-p.ended:
		return errEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.synced {
		return nil
	}
	return p.err
}

func (p *part) get(key client.ObjectKey) client.Object {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.objects[key]
}

func (p *part) all() []client.Object {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.objects))
}

func (p *part) since() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version
}

// listen sets the listener, once, and tells it of what is there.
func (p *part) listen(l *listener) {
	p.mu.Lock()
	if p.listener != nil {
		p.mu.Unlock()
		return
	}
	p.listener = l
	there := slices.Collect(maps.Values(p.objects))
	p.mu.Unlock()
	for _, o := range there {
		l.changed(nil, o)
	}
}

// changed tells a listener that an object is another; nil is none.
func (l *listener) changed(before, after client.Object) {
	if l == nil || (before != nil && after != nil && before.GetResourceVersion() == after.GetResourceVersion()) {
		return
	}
	passes := predicate.And(l.predicates...)
	switch {
	case before == nil && passes.Create(event.CreateEvent{Object: after}),
		after == nil && passes.Delete(event.DeleteEvent{Object: before}),
		before != nil && after != nil && passes.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}):
		l.notify()
	}
}
