// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// StormRate is how many EndpointSlices are to be written a second, StormTime how long.
	StormRate = 500
	StormTime = 20 * time.Second
	// stormWriters is how many writes are open at a time at most.
	stormWriters = 16
)

// Storm is what became of a storm of changes.
type Storm struct {
	// Written is how many EndpointSlices were changed a second.
	Written float64
	// During and After are how long traffic took to follow a change of one more slice.
	During []time.Duration
	After  time.Duration
}

// storm changes the slices of all Services but the first and the last, in turn, and moves
// the first one's endpoint meanwhile and right after.
func (a *agent) storm(ctx context.Context, size int) (s Storm, err error) {
	f := a.follower()
	closeAll, err := sayPorts(f.server, f.at)
	if err != nil {
		return s, err
	}
	defer closeAll()
	blowing, end := context.WithTimeout(ctx, StormTime)
	defer end()
	var written atomic.Int64
	group, within := errgroup.WithContext(ctx)
	began := time.Now()
	group.Go(func() error { return a.cluster.blow(within, blowing, size, &written) })
	to := 0
	for blowing.Err() == nil && within.Err() == nil {
		lag, err := a.cluster.change(within, f, homes[to%2])
		if err != nil {
			return s, errors.Join(err, group.Wait())
		}
		s.During = append(s.During, lag)
		to++
		_ = pause(blowing, 2*f.pause) // the loop ends with the storm
	}
	if err := group.Wait(); err != nil {
		return s, err
	}
	s.Written = float64(written.Load()) / time.Since(began).Seconds()
	s.After, err = a.cluster.change(ctx, f, homes[to%2])
	return s, err
}

// blow writes slices at StormRate, or as fast as the API server takes them, until blowing
// ends.
func (c *cluster) blow(ctx, blowing context.Context, size int, written *atomic.Int64) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(stormWriters)
	tick := time.NewTicker(time.Second / StormRate)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return group.Wait()
		case <-blowing.Done():
			return group.Wait()
		case <-tick.C:
		}
		i, round := 1+n%(size-2), n/(size-2)
		group.Go(func() error {
			all := backends(i, netip.Addr{})
			all[0].Port += uint16(1 + round%100) // the port of the whole slice
			one := slice(i, 0, all)
			if _, err := c.client.DiscoveryV1().EndpointSlices(namespace).Update(ctx, one, metav1.UpdateOptions{}); err != nil {
				return fmt.Errorf("EndpointSlice %s: %w", one.Name, err)
			}
			written.Add(1)
			return nil
		})
	}
}
