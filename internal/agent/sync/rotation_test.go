// SPDX-License-Identifier: Apache-2.0

package sync_test

import (
	"fmt"
	"log/slog"
	"os"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/trust"
)

// TestTrustIsRotatedUnderLoad replaces a cluster's CA and the fleet's root again and again
// while agents hold streams, and others come and go, half of them without a certificate.
// Every pod learns of a change in its own time. Nobody may be refused, and no stream end.
func TestTrustIsRotatedUnderLoad(t *testing.T) {
	const steady, restless, rotations = 20, 20, 3
	o := newOperator(t, 2, 8)
	c := newCluster(t)
	said := newFaults()
	log := slog.New(said)
	var done, failed atomic.Int64
	var addresses []string
	for _, v := range o.controllers {
		addresses = append(addresses, c.replica(v, &done, &failed, log).address)
	}
	config := func(i int) sync.Config { return configOf(t, fmt.Sprintf("n%d", i), o.nodes[i%len(o.nodes)], log) }
	held := make([]*sync.Client, steady)
	for i := range held {
		client, stop := start(t, config(i), newNode(), addresses...)
		held[i] = client
		t.Cleanup(stop)
	}
	for _, client := range held {
		eventually(t, "a steady agent is connected", func() bool { return client.Status().Connected })
	}
	before := make([]sync.Status, steady)
	for i, client := range held {
		before[i] = client.Status()
	}

	var visitors stdsync.WaitGroup
	var leave atomic.Bool
	var visits atomic.Int64
	for i := range restless {
		cfg := config(steady + i)
		visitors.Go(func() {
			for n := 0; !leave.Load() && !t.Failed(); n++ {
				if n%2 == 0 {
					if err := os.RemoveAll(cfg.StateDir); err != nil {
						t.Error(err)
					}
				}
				if visit(t, cfg, addresses) {
					visits.Add(1)
				}
			}
		})
	}
	defer visitors.Wait()
	defer leave.Store(true)

	more := func() { // lets agents meet in this state of things
		at := visits.Load()
		eventually(t, "half of them came and went", func() bool { return visits.Load() >= at+restless/2 || t.Failed() })
	}
	for range rotations {
		o.held.CA = map[string][]byte{trust.KeyBundle: o.held.CA[trust.KeyBundle]}
		o.decide()
		o.distribute(more)

		o.newRoot()
		if next := o.decide(); !next.Moving {
			t.Fatal("the CA is of a root that nobody has yet")
		}
		o.distribute(more)
		o.now = o.now.Add(trust.Settle)
		if next := o.decide(); next.Moving {
			t.Fatal("the CA stays with the former root")
		}
		o.distribute(more)
	}
	leave.Store(true)
	visitors.Wait()

	for i, client := range held {
		if now := client.Status(); now != before[i] {
			t.Errorf("the stream of a steady agent ended: it was %+v and is %+v", before[i], now)
		}
	}
	said.check(t)
	if n := failed.Load(); n != 0 {
		t.Errorf("%d handshakes failed", n)
	}
	t.Logf("%d handshakes, %d failed, in %d rotations of CA and root; %d streams were held throughout, %d came and went",
		done.Load(), failed.Load(), 2*rotations, steady, visits.Load())
}

// visit connects an agent and takes it away again.
func visit(t *testing.T, cfg sync.Config, addresses []string) bool {
	client, stop := start(t, cfg, newNode(), addresses...)
	defer stop()
	for deadline := time.Now().Add(patience); client != nil && !client.Status().Connected; {
		if time.Now().After(deadline) {
			t.Errorf("agent %s never got a stream: %+v", cfg.NodeName, client.Status())
			return false
		}
		time.Sleep(time.Millisecond) // a poll, not a wait for luck
	}
	return client != nil
}
