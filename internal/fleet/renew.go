// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// renewals tell the watches of a cluster from those before it was renewed. Its zero value is
// ready.
type renewals struct {
	mu       sync.Mutex
	clusters map[client.ObjectKey]*renewal
}

// renewal is how often a cluster was renewed, and what is watched there since, by name.
type renewal struct {
	count   int
	watched map[string]client.Object
}

func (r *renewals) of(cluster client.ObjectKey) *renewal {
	if r.clusters == nil {
		r.clusters = map[client.ObjectKey]*renewal{}
	}
	if r.clusters[cluster] == nil {
		r.clusters[cluster] = &renewal{watched: map[string]client.Object{}}
	}
	return r.clusters[cluster]
}

// name is a watch's, which no watch before the last renewal has.
func (r *renewals) name(cluster client.ObjectKey, w Watch) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.of(cluster)
	name := fmt.Sprintf("%s@%d", w.Name, of.count)
	of.watched[name] = w.Object
	return name
}

// begin begins a renewal, and returns what was watched before it.
func (r *renewals) begin(cluster client.ObjectKey) map[string]client.Object {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.of(cluster)
	of.count++
	defer func() { of.watched = map[string]client.Object{} }()
	return of.watched
}

// Renew drops everything that is held of a cluster: it is read, and Watch watches it, anew. It
// is for an API server that has begun anew, whose watches tell of nothing.
func (f *Fleet) Renew(ctx context.Context, cluster client.ObjectKey) error {
	watched := f.renewed.begin(cluster)
	for _, name := range slices.Sorted(maps.Keys(watched)) {
		if err := f.Forget(ctx, cluster, "renew-"+name, watched[name]); err != nil {
			return err
		}
	}
	return nil
}
