// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"errors"
	"time"
)

// connectors is how many clients make new connections while an agent is killed.
const connectors = 4

// connectWithin is what a connection may take on a busy machine: less than the second after
// which a packet that was lost is sent again.
const connectWithin = 900 * time.Millisecond

// Killed is what became of new connections while the agent was killed and started again.
type Killed struct {
	Connections, Failed int64
	// Back is from the agent's start until all Services were in force again.
	Back []time.Duration
	// Why is the first failure.
	Why error
}

// killed kills the agent n times and starts it again.
func (a *agent) killed(ctx context.Context, size, n int) (k Killed, err error) {
	f := a.follower()
	closeAll, err := sayPorts(f.server, f.at)
	if err != nil {
		return k, err
	}
	defer closeAll()
	if _, err := a.cluster.change(ctx, f, homes[0]); err != nil {
		return k, err
	}
	connecting, end := context.WithCancel(ctx)
	results := make(chan Killed, connectors)
	for range connectors {
		go func() { results <- f.connect(connecting) }()
	}
	for range n {
		a.process.Kill()
		began := time.Now()
		if err = a.start(ctx, size); err != nil {
			break
		}
		k.Back = append(k.Back, time.Since(began))
	}
	end()
	for range connectors {
		one := <-results
		k.Connections, k.Failed = k.Connections+one.Connections, k.Failed+one.Failed
		k.Why = errors.Join(k.Why, one.Why)
	}
	return k, err
}

// connect makes one connection after another to the changing Service.
func (f *follower) connect(ctx context.Context) (k Killed) {
	for ctx.Err() == nil {
		k.Connections++
		if err := arrives(f.client, vip(changing), homes[0], connectWithin); err != nil {
			k.Failed++
			if k.Why == nil {
				k.Why = err
			}
		}
	}
	return k
}
