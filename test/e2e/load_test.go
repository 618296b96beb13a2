// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-io/fairlead/test/continuity"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// heavy is the load of the two main paths. Together with the others there are 10,000
// connections.
var heavy = continuity.Config{Flows: 4800, Rest: 3 * time.Second, DatagramRate: 10000, Connects: true, ConnectRest: 5 * time.Millisecond}

// light is that of every other path.
var light = continuity.Config{Flows: 100, Rest: time.Second, DatagramRate: 1000, Connects: true, ConnectRest: 20 * time.Millisecond}

// path is a way that a load is put on.
type path struct {
	name string
	from testkit.Pod
	to   netip.Addr
	load continuity.Config
}

// deployLoad makes the pods of a load, which are there until the test ends.
func deployLoad(t *testing.T, cluster string) testkit.Ends {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := lab.RemoveLoad(ctx, cluster); err != nil {
			t.Error(err)
		}
	})
	ends, err := lab.DeployLoad(within(t, time.Minute), cluster)
	if err != nil {
		t.Fatal(err)
	}
	// A Service's endpoint becomes known on each node a moment after it is ready.
	for _, p := range everyPath(ends) {
		eventually(t, 20*time.Second, p.name+": the server is there", func(ctx context.Context) error {
			one, err := lab.StartLoad(ctx, cluster, p.from.Name, netip.AddrPortFrom(p.to, testkit.LoadPort), continuity.Config{Flows: 1})
			if err != nil {
				return err
			}
			r, err := one.Stop()
			return errors.Join(r.Err(), err)
		})
	}
	return ends
}

// everyPath is the full load: on a node and across nodes, both families, and a Service.
func everyPath(e testkit.Ends) []path {
	return []path{
		{"same node, IPv4", e.OneA, e.OneB.Addresses[0], heavy},
		{"across nodes, IPv4", e.OneA, e.TwoA.Addresses[0], heavy},
		{"same node, IPv6", e.TwoA, e.TwoB.Addresses[1], light},
		{"across nodes, IPv6", e.TwoB, e.OneA.Addresses[1], light},
		{"Service across nodes, IPv4", e.TwoA, e.Service[0], light},
		{"Service on the node, IPv6", e.OneA, e.Service[1], light},
	}
}

// underLoad does something while there is load on all paths, and returns what came of it.
// await returns when the load has gone on for another while on the named paths, on all if
// none is named.
func underLoad(t *testing.T, cluster string, paths []path, do func(await func(names ...string))) map[string]continuity.Result {
	t.Helper()
	loads := make([]*testkit.Load, len(paths))
	var starts errgroup.Group
	for i, p := range paths {
		starts.Go(func() (err error) {
			loads[i], err = lab.StartLoad(t.Context(), cluster, p.from.Name, netip.AddrPortFrom(p.to, testkit.LoadPort), p.load)
			return err
		})
	}
	if err := starts.Wait(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	await := func(names ...string) {
		t.Helper()
		var all errgroup.Group
		for i, p := range paths {
			if len(names) > 0 && !slices.Contains(names, p.name) {
				continue
			}
			all.Go(func() error {
				if err := loads[i].Await(); err != nil {
					return fmt.Errorf("%s: %w", p.name, err)
				}
				return nil
			})
		}
		if err := all.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	await()
	do(await)
	await()
	results := map[string]continuity.Result{}
	for i, p := range paths {
		r, err := loads[i].Stop()
		if err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
		t.Logf("%s: %d exchanges of %d connections, %d datagrams (%.0f a second), %d new connections", p.name,
			r.Exchanges, p.load.Flows, r.Sent, float64(r.Sent)/time.Since(began).Seconds(), r.Connected)
		results[p.name] = r
	}
	return results
}

// losesNothing asserts that the full load on a cluster does not notice what is done.
func losesNothing(t *testing.T, cluster string, ends testkit.Ends, do func(await func(names ...string))) {
	t.Helper()
	for name, r := range underLoad(t, cluster, everyPath(ends), do) {
		if err := r.Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// restored registers what brings the lab back to how the tests after this one expect it,
// whatever becomes of this one, and waits until the fleet is Ready then.
func restored(t *testing.T, restore func(context.Context) error) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		if err := restore(ctx); err != nil {
			t.Error(err)
		}
		if err := testkit.WaitReady(ctx, hub(t), testkit.StackName, func(string) {}); err != nil {
			t.Error(err)
		}
	})
}
