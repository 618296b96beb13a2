// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"context"
	"sync"
	"time"
)

// dns asks the cluster's name servers for the probes' own Service.
type dns struct{}

const namesPerSecond = 2

func (dns) Name() string { return "dns" }

// Grace is long: on a new cluster the name servers start when there is a network.
func (dns) Grace() time.Duration { return time.Minute }

// Run asks one question after the other without waiting for answers.
func (d dns) Run(ctx context.Context, env *Env, record func(Attempt)) {
	var running sync.WaitGroup
	defer running.Wait()
	for pause(ctx, time.Second/namesPerSecond) {
		running.Go(func() {
			question, cancel := context.WithTimeout(ctx, fate)
			defer cancel()
			began := time.Now()
			_, err := env.Resolver.LookupNetIP(question, "ip", env.Host)
			if ctx.Err() == nil {
				record(Attempt{Peer: "the name servers", Began: began, Lost: err != nil, Took: time.Since(began)})
			}
		})
	}
}
