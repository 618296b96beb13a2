// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// service connects to the probes' own Service, whose endpoints are on every node.
type service struct{}

const connectionsPerSecond = 5

func (service) Name() string         { return "service" }
func (service) Grace() time.Duration { return 30 * time.Second }

// Run begins one connection after the other without waiting for their ends, to each address
// of the Service in turn.
func (s service) Run(ctx context.Context, env *Env, record func(Attempt)) {
	if !hasEndpoint(ctx, env) {
		return
	}
	addresses := addressesOf(ctx, env)
	var running sync.WaitGroup
	defer running.Wait()
	for i := 0; len(addresses) > 0 && pause(ctx, time.Second/connectionsPerSecond); i++ {
		to := netip.AddrPortFrom(addresses[i%len(addresses)], env.ServicePort)
		running.Go(func() {
			began := time.Now()
			err := ask(ctx, to)
			if ctx.Err() == nil {
				record(Attempt{Peer: "address " + to.String(), Began: began, Lost: err != nil, Took: time.Since(began)})
			}
		})
	}
}

// hasEndpoint waits until the Service has one: before, connections are refused.
func hasEndpoint(ctx context.Context, env *Env) bool {
	for {
		all, changed := env.roster.get()
		if len(all) > 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		}
	}
}

// addressesOf returns the Service's addresses of the pod's families, by its name or, when the
// name servers do not know it within the time that they have, the one that is known.
func addressesOf(ctx context.Context, env *Env) []netip.Addr {
	for tries := 0; ; tries++ {
		question, cancel := context.WithTimeout(ctx, fate)
		found, _ := env.Resolver.LookupNetIP(question, "ip", env.Host)
		cancel()
		var out []netip.Addr
		for _, a := range found {
			a = a.Unmap()
			for _, own := range env.Addresses {
				if own.Is4() == a.Is4() {
					out = append(out, a)
					break
				}
			}
		}
		if len(out) > 0 {
			return out
		}
		if env.Service.IsValid() && tries >= 2 {
			return []netip.Addr{env.Service}
		}
		if !wait(ctx, time.Second) {
			return nil
		}
	}
}

// ask connects, and has one byte sent back.
func ask(ctx context.Context, to netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, fate)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	sent, back := [1]byte{'?'}, [1]byte{}
	if _, err := conn.Write(sent[:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, back[:]); err != nil {
		return err
	}
	if back != sent {
		return fmt.Errorf("%s answered something else", to)
	}
	return nil
}
