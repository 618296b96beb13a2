// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// readTimeout bounds how long a read waits for a kind that was not read before.
const readTimeout = 10 * time.Second

// mirror holds what Options.Cached says of one cluster, up to date, for one connection.
//
// It is there for its size. An informer has a dozen goroutines and buffers for many
// listeners: the fourteen of a cluster took 1.2 MiB in 200 goroutines (test/scale). Here a
// kind has one listener, one goroutine beside that of its HTTP stream, and no index.
type mirror struct {
	//nolint:containedctx // it lives as long as the connection
	ctx    context.Context
	end    context.CancelFunc
	wire   *wire
	scheme *runtime.Scheme
	cached map[kindKey]ctrlcache.ByObject

	mu    sync.Mutex
	kinds map[kindKey]*kind
}

// kindKey is a kind, whole or its metadata alone.
type kindKey struct {
	gvk     schema.GroupVersionKind
	partial bool
}

func (k kindKey) resource() schema.GroupVersionResource {
	r, _ := meta.UnsafeGuessKindToResource(k.gvk)
	return r
}

// kind is what is held of a kind: a part for each namespace that matters, or one for all.
type kind struct {
	end   context.CancelFunc
	parts []*part
}

// listener is told of what happens to objects of a kind.
type listener struct {
	notify     func()
	predicates []predicate.Predicate
}

// keyOf is the kind of an object, or of a list's items.
func keyOf(o runtime.Object, scheme *runtime.Scheme) (kindKey, error) {
	gvk, err := apiutil.GVKForObject(o, scheme)
	if err != nil {
		return kindKey{}, err
	}
	gvk.Kind = strings.TrimSuffix(gvk.Kind, "List")
	switch o.(type) {
	case *metav1.PartialObjectMetadata, *metav1.PartialObjectMetadataList:
		return kindKey{gvk, true}, nil
	}
	return kindKey{gvk, false}, nil
}

// restrictions sorts what is cached of kinds by their keys.
func restrictions(of map[client.Object]ctrlcache.ByObject, scheme *runtime.Scheme) (map[kindKey]ctrlcache.ByObject, error) {
	out := map[kindKey]ctrlcache.ByObject{}
	for o, by := range of {
		key, err := keyOf(o, scheme)
		if err != nil {
			return nil, fmt.Errorf("restricting what is cached of %T: %w", o, err)
		}
		out[key] = by
	}
	return out, nil
}

// of returns what is held of a kind, which is followed from then on.
func (m *mirror) of(key kindKey) *kind {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.kinds[key]; k != nil {
		return k
	}
	by := m.cached[key]
	namespaces := by.Namespaces
	if len(namespaces) == 0 {
		namespaces = map[string]ctrlcache.Config{"": {}}
	}
	ctx, end := context.WithCancel(m.ctx)
	k := &kind{end: end}
	for namespace, c := range namespaces {
		if c.LabelSelector == nil {
			c.LabelSelector = by.Label
		}
		if c.FieldSelector == nil {
			c.FieldSelector = by.Field
		}
		if c.Transform == nil {
			c.Transform = by.Transform
		}
		if c.Transform == nil {
			c.Transform = ctrlcache.TransformStripManagedFields()
		}
		p := newPart(ctx, m.wire, key, namespace, c)
		k.parts = append(k.parts, p)
		go p.run(ctx)
	}
	m.kinds[key] = k
	return k
}

// watch has a listener told of every event of a kind from now on, and once of what is there.
// A kind has one listener; the later ones are dropped.
func (m *mirror) watch(o client.Object, l *listener) error {
	key, err := keyOf(o, m.scheme)
	if err != nil {
		return err
	}
	for _, p := range m.of(key).parts {
		p.listen(l)
	}
	return nil
}

// forget stops following a kind.
func (m *mirror) forget(o client.Object) error {
	key, err := keyOf(o, m.scheme)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.kinds[key]; k != nil {
		k.end()
		delete(m.kinds, key)
	}
	return nil
}

// synced waits until every part of a kind was read.
func (k *kind) synced(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	for _, p := range k.parts {
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Get implements client.Reader.
func (m *mirror) Get(ctx context.Context, name client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	key, err := keyOf(into, m.scheme)
	if err != nil {
		return err
	}
	k := m.of(key)
	if err := k.synced(ctx); err != nil {
		return err
	}
	for _, p := range k.parts {
		if o := p.get(name); o != nil {
			reflect.ValueOf(into).Elem().Set(reflect.ValueOf(o.DeepCopyObject()).Elem())
			into.GetObjectKind().SetGroupVersionKind(key.gvk)
			return nil
		}
	}
	return apierrors.NewNotFound(key.resource().GroupResource(), name.Name)
}

// List implements client.Reader, for lists of everything that is held, or of a namespace.
func (m *mirror) List(ctx context.Context, into client.ObjectList, opts ...client.ListOption) error {
	key, err := keyOf(into, m.scheme)
	if err != nil {
		return err
	}
	var o client.ListOptions
	o.ApplyOptions(opts)
	if o.LabelSelector != nil || o.FieldSelector != nil {
		return errors.New("a list of what is held of a cluster cannot be restricted by labels or fields: use Live, or Options.Cached")
	}
	k := m.of(key)
	if err := k.synced(ctx); err != nil {
		return err
	}
	var items []runtime.Object
	for _, p := range k.parts {
		for _, have := range p.all() {
			if o.Namespace == "" || o.Namespace == have.GetNamespace() {
				items = append(items, have.DeepCopyObject())
			}
		}
	}
	return meta.SetList(into, items)
}
