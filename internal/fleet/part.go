// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// part holds the objects of a kind in one namespace, or in all. It is a reflector's store.
type part struct {
	transform toolscache.TransformFunc
	// tried is closed when the objects were listed, or could not be.
	tried func()
	first <-chan struct{}

	mu       sync.Mutex
	objects  map[client.ObjectKey]client.Object
	synced   bool
	err      error
	listener *listener
}

var _ toolscache.TransformingStore = &part{}

func newPart(transform toolscache.TransformFunc) *part {
	first := make(chan struct{})
	return &part{
		transform: transform, objects: map[client.ObjectKey]client.Object{},
		first: first, tried: sync.OnceFunc(func() { close(first) }),
	}
}

// Transformer implements toolscache.TransformingStore: what a reflector gathers before it
// calls Replace is transformed as well.
func (p *part) Transformer() toolscache.TransformFunc { return p.transform }

// kept is what is kept of an object. The reflector may have transformed it before: a
// transformation must not change what it was applied to.
func (p *part) kept(o any) (client.Object, error) {
	t, err := p.transform(o)
	if err != nil {
		return nil, err
	}
	kept, ok := t.(client.Object)
	if !ok {
		return nil, fmt.Errorf("%T is no object of an API", t)
	}
	return kept, nil
}

// Add implements toolscache.ReflectorStore.
func (p *part) Add(o any) error { return p.Update(o) }

// Update implements toolscache.ReflectorStore.
func (p *part) Update(o any) error {
	now, err := p.kept(o)
	if err != nil {
		return err
	}
	key := client.ObjectKeyFromObject(now)
	p.mu.Lock()
	former, l := p.objects[key], p.listener
	p.objects[key] = now
	p.mu.Unlock()
	l.changed(former, now)
	return nil
}

// Delete implements toolscache.ReflectorStore.
func (p *part) Delete(o any) error {
	gone, err := p.kept(o)
	if err != nil {
		return err
	}
	p.mu.Lock()
	delete(p.objects, client.ObjectKeyFromObject(gone))
	l := p.listener
	p.mu.Unlock()
	l.changed(gone, nil)
	return nil
}

// Replace implements toolscache.ReflectorStore. It tells of what differs from what was known.
func (p *part) Replace(all []any, _ string) error {
	found := make(map[client.ObjectKey]client.Object, len(all))
	for _, o := range all {
		now, err := p.kept(o)
		if err != nil {
			return err
		}
		found[client.ObjectKeyFromObject(now)] = now
	}
	p.mu.Lock()
	former, l := p.objects, p.listener
	p.objects, p.synced, p.err = maps.Clone(found), true, nil
	p.mu.Unlock()
	p.tried()
	for key, now := range found {
		l.changed(former[key], now)
	}
	for key, gone := range former {
		if found[key] == nil {
			l.changed(gone, nil)
		}
	}
	return nil
}

// Resync implements toolscache.ReflectorStore; there is nothing to repeat.
func (p *part) Resync() error { return nil }

// failed takes note of why the objects could not be read. What was known is gone with a kind
// that is not served any more.
func (p *part) failed(err error) {
	p.mu.Lock()
	p.err = err
	var gone map[client.ObjectKey]client.Object
	if meta.IsNoMatchError(err) {
		gone, p.objects, p.synced = p.objects, map[client.ObjectKey]client.Object{}, false
	}
	l := p.listener
	p.mu.Unlock()
	p.tried()
	for _, o := range gone {
		l.changed(o, nil)
	}
}

// wait waits until the objects were listed, or could not be.
func (p *part) wait(ctx context.Context, ended <-chan struct{}) error {
	select {
	case <-p.first:
	case <-ended:
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
