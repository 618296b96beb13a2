// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// fate is how long an attempt may take before it counts as lost.
const fate = 2 * time.Second

// Probe is one way to try the network.
type Probe interface {
	// Name of the probe, as budgets name it.
	Name() string
	// Grace is how long attempts at a peer may fail from the first one on before they
	// count, unless one has succeeded: what they need may be about to start.
	Grace() time.Duration
	// Run makes attempts until the context ends, and records each one when its fate is
	// known. It records nothing of an attempt whose fate does not matter any more.
	Run(ctx context.Context, env *Env, record func(Attempt))
}

// Attempt is one packet, question or connection.
type Attempt struct {
	// Peer says in words to whom it went.
	Peer string
	// Began is when it was made.
	Began time.Time
	// Lost says that it failed, Took how long it took otherwise.
	Lost bool
	Took time.Duration
}

// Env is what probes know of where they run.
type Env struct {
	// Node that the pod is on.
	Node string
	// Addresses of the pod.
	Addresses []netip.Addr
	// Host is the name of the probes' Service, complete, with the dot at its end.
	Host string
	// Service is an address of the Service that is known without asking; invalid: none is.
	Service netip.Addr
	// Ports of the peers.
	EchoPort, ServicePort, ForbiddenPort uint16
	// Resolver answers as workloads' do.
	Resolver *net.Resolver

	roster roster
}

// probes are all that there are.
func probes() []Probe { return []Probe{peers{}, dns{}, service{}, policy{}} }

// pause waits for a random time around the mean, so that no two probes are in step. It
// returns false when the context has ended.
func pause(ctx context.Context, mean time.Duration) bool {
	return wait(ctx, mean/2+rand.N(mean))
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
