// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/internal/addressing"
)

// Giver gives Clusters their numbers and addresses.
type Giver struct {
	Ledger *Ledger
	// Events says at a Cluster what it was given, or why it gets nothing.
	Events events.EventRecorder
}

// Answer is what becomes of a Cluster that asks.
type Answer struct {
	// Settled says that the Cluster shows what it holds, or that it is to hold nothing.
	Settled bool
	// Refused says why it gets nothing, "" when it is not refused.
	Refused string
	// Held is what a settled Cluster shows, nil when nothing was written into it.
	Held *addressing.Holding
}

// Settle gives a Cluster what it lacks, and writes it into the Cluster. It may be called any
// number of times, by any number of operators. What the Cluster was given in an earlier life is
// not its own: it is known by its UID.
func (g *Giver) Settle(ctx context.Context, key client.ObjectKey) (Answer, error) {
	c := &clusterv1.Cluster{}
	if err := g.Ledger.Live.Get(ctx, key, c); err != nil {
		return Answer{Settled: true}, client.IgnoreNotFound(err)
	}
	if !c.DeletionTimestamp.IsZero() && !given(c) && !existing(c) {
		return Answer{Settled: true}, nil // deleted before its birth: it needs nothing any more
	}
	held, err := g.reserve(ctx, c)
	var refusal *addressing.Refusal
	var fault *claimError
	var pool *PoolError
	switch {
	case errors.Is(err, ErrNoPool):
		return Answer{Settled: true}, nil
	case errors.As(err, &refusal), errors.As(err, &fault), errors.As(err, &pool):
		g.Events.Eventf(c, nil, corev1.EventTypeWarning, "NoAddresses", "Reserve", "%s", err)
		return Answer{Refused: err.Error()}, nil
	case err != nil:
		return Answer{}, err
	case existing(c): // nothing of it is changed
		return Answer{Settled: true}, nil
	}
	return g.inscribe(ctx, c, held)
}

// claimError is a Cluster that names what cannot be read.
type claimError struct{ error }

func (g *Giver) reserve(ctx context.Context, c *clusterv1.Cluster) (addressing.Holding, error) {
	cl, err := claimOf(c)
	if err != nil {
		return addressing.Holding{}, &claimError{err}
	}
	var held addressing.Holding
	err = g.Ledger.Write(ctx, c.Namespace, func(p *Page) error {
		var refused error
		held, refused = p.Book.Reserve(cl.request(c, p.Pool.class(c.Labels)))
		return refused
	})
	return held, err
}

// inscribe writes what a cluster holds into its Cluster. Somebody who changed the Cluster
// meanwhile may have named other ranges: it is asked again.
func (g *Giver) inscribe(ctx context.Context, c *clusterv1.Cluster, held addressing.Holding) (Answer, error) {
	old := c.DeepCopy()
	if !inscribe(c, held) {
		return Answer{Settled: true, Held: &held}, nil
	}
	err := g.Ledger.Writer.Patch(ctx, c, client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{}))
	switch {
	case apierrors.IsConflict(err):
		return Answer{}, nil
	case err != nil:
		return Answer{}, client.IgnoreNotFound(fmt.Errorf("writing addresses into Cluster %s: %w", client.ObjectKeyFromObject(c), err))
	}
	g.Events.Eventf(c, nil, corev1.EventTypeNormal, "AddressesReserved", "Reserve", "the cluster has number %d and %v", held.ID, held.Ranges)
	return Answer{}, nil // settled once Cluster API has seen it
}
