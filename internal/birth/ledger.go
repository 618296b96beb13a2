// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/addressing"
)

// writePatience bounds one write, with all its attempts. It is less than what Cluster API gives a
// hook.
const writePatience = 8 * time.Second

// ErrNoPool says that a namespace has no FleetPool: its Clusters have the addresses that they name.
var ErrNoPool = errors.New("the namespace has no FleetPool")

// Ledger writes what clusters hold into the FleetPools. Entries that come while a namespace's
// FleetPool is being written are written together by the next write.
type Ledger struct {
	// Live reads the management cluster without a cache, Cached with one.
	Live, Cached client.Reader
	Writer       client.Client
	Now          func() time.Time
	// Wrote is called after each write of a FleetPool; nil is nobody.
	Wrote func()

	mu    sync.Mutex
	desks map[string]*desk
}

// Page is what an entry works on.
type Page struct {
	Book *addressing.Book
	Pool *Pool
}

type entry struct {
	do   func(*Page) error
	done chan error
}

// desk has the entries of a namespace.
type desk struct {
	waiting []entry
	busy    bool
}

// Write has do change what the clusters of a namespace hold, and returns when that is written, with
// do's error if it has one. do may be called again, on a newer page; what it changes is written
// only when it returns nil. It is ErrNoPool when the namespace has none, a *PoolError when nothing
// can be given from it.
func (l *Ledger) Write(ctx context.Context, namespace string, do func(*Page) error) error {
	e := entry{do: do, done: make(chan error, 1)}
	l.mu.Lock()
	if l.desks == nil {
		l.desks = map[string]*desk{}
	}
	d := l.desks[namespace]
	if d == nil {
		d = &desk{}
		l.desks[namespace] = d
	}
	d.waiting = append(d.waiting, e)
	if !d.busy {
		d.busy = true
		go l.serve(namespace, d)
	}
	l.mu.Unlock()
	select {
	case err := <-e.done:
		return err
	case <-ctx.Done():
		return ctx.Err() // it may be written all the same: entries are idempotent
	}
}

// serve writes a namespace's entries until there are none.
func (l *Ledger) serve(namespace string, d *desk) {
	for {
		l.mu.Lock()
		entries := d.waiting
		d.waiting = nil
		if len(entries) == 0 {
			d.busy = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		// Whoever asked first may have gone: the others' entries are not to end with it.
		ctx, cancel := context.WithTimeout(context.Background(), writePatience)
		results, err := l.write(ctx, namespace, entries)
		cancel()
		for i, e := range entries {
			if err != nil {
				e.done <- err
				continue
			}
			e.done <- results[i]
		}
	}
}

// Look opens the page of a FleetPool as it is, for reading. The error is a *PoolError when nothing
// can be given from it.
func (l *Ledger) Look(ctx context.Context, object *v1alpha1.FleetPool) (*Page, error) {
	var all v1alpha1.FleetPoolList
	if err := l.Cached.List(ctx, &all); err != nil {
		return nil, fmt.Errorf("reading the FleetPools: %w", err)
	}
	pool, err := ReadPool(object, all.Items)
	if err != nil {
		return nil, err
	}
	book, err := l.open(ctx, object, pool)
	return &Page{Book: book, Pool: pool}, err
}

// Held are the holdings of the page's own namespace, as a status has them.
func (p *Page) Held() []v1alpha1.Holding { return statusHoldings(p.Pool.Namespace, p.Book.Holdings()) }

// write makes one write of entries, again while somebody else was faster.
func (l *Ledger) write(ctx context.Context, namespace string, entries []entry) ([]error, error) {
	for {
		results, err := l.attempt(ctx, namespace, entries)
		if !apierrors.IsConflict(err) || ctx.Err() != nil {
			return results, err
		}
	}
}

func (l *Ledger) attempt(ctx context.Context, namespace string, entries []entry) ([]error, error) {
	object, pool, err := l.pool(ctx, namespace)
	if err != nil {
		return nil, err
	}
	book, err := l.open(ctx, object, pool)
	if err != nil {
		return nil, err
	}
	page := &Page{Book: book, Pool: pool}
	results := make([]error, len(entries))
	for i, e := range entries {
		results[i] = e.do(page)
	}
	return results, l.save(ctx, object, page.Held())
}

// save writes a FleetPool's holdings, unless they are what is there.
func (l *Ledger) save(ctx context.Context, object *v1alpha1.FleetPool, held []v1alpha1.Holding) error {
	if equality.Semantic.DeepEqual(object.Status.Holdings, held) {
		return nil
	}
	object.Status.Holdings = held
	if err := l.Writer.Status().Update(ctx, object); err != nil {
		if apierrors.IsConflict(err) {
			return err
		}
		return fmt.Errorf("writing the status of FleetPool %s/%s: %w", object.Namespace, object.Name, err)
	}
	if l.Wrote != nil {
		l.Wrote()
	}
	return nil
}

// pool is the FleetPool that counts in a namespace.
func (l *Ledger) pool(ctx context.Context, namespace string) (*v1alpha1.FleetPool, *Pool, error) {
	var live, all v1alpha1.FleetPoolList
	if err := l.Live.List(ctx, &live, client.InNamespace(namespace)); err != nil {
		return nil, nil, fmt.Errorf("reading the FleetPools of namespace %s: %w", namespace, err)
	}
	object := First(live.Items)
	if object == nil {
		return nil, nil, ErrNoPool
	}
	if err := l.Cached.List(ctx, &all); err != nil {
		return nil, nil, fmt.Errorf("reading the FleetPools: %w", err)
	}
	pool, err := ReadPool(object, all.Items)
	return object, pool, err
}

// First is the FleetPool of a namespace that counts, nil for none.
func First(pools []v1alpha1.FleetPool) *v1alpha1.FleetPool {
	var first *v1alpha1.FleetPool
	for i := range pools {
		if p := &pools[i]; p.DeletionTimestamp.IsZero() && (first == nil || before(p, first)) {
			first = p
		}
	}
	return first
}

// open opens the book of a namespace. What clusters have that no status knows of is in it: those
// that ran before there was a FleetPool, those whose status was lost, and those of other
// namespaces.
func (l *Ledger) open(ctx context.Context, object *v1alpha1.FleetPool, pool *Pool) (*addressing.Book, error) {
	var clusters clusterv1.ClusterList
	if err := l.Cached.List(ctx, &clusters, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("reading the Clusters: %w", err)
	}
	held := holdings(object.Namespace, object.Status.Holdings)
	known := make(map[string]bool, len(held))
	for i := range held {
		known[held[i].UID] = true
	}
	var unknown []addressing.Request
	for i := range clusters.Items {
		c := &clusters.Items[i]
		cl, err := claimOf(c)
		if err != nil || known[string(c.UID)] {
			continue // who names what cannot be read is told when it asks
		}
		switch {
		case c.Namespace != object.Namespace:
			held = append(held, addressing.Holding{Cluster: c.Namespace + "/" + c.Name, UID: string(c.UID), ID: cl.id, Ranges: cl.named, Since: c.CreationTimestamp.Time})
		case existing(c), given(c):
			unknown = append(unknown, cl.request(c, nil))
		}
	}
	book, err := addressing.Open(pool.pools, pool.ids, held, pool.Quarantine, l.Now().Truncate(time.Second)) // as a status has it
	if err != nil {
		return nil, fmt.Errorf("FleetPool %s/%s: %w", object.Namespace, object.Name, err)
	}
	// What runs has what it has; one that only says so must not take it from them.
	slices.SortStableFunc(unknown, func(a, b addressing.Request) int { return rank(a) - rank(b) })
	for _, r := range unknown {
		_, _ = book.Reserve(r) // who is refused is told when it asks
	}
	return book, nil
}

// rank orders clusters that no status knows of: those that run and have a number first, since the
// others get a number that is left.
func rank(r addressing.Request) int {
	switch {
	case r.Existing && r.ID != 0:
		return 0
	case r.Existing:
		return 1
	}
	return 2
}
