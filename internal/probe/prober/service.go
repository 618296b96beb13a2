// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// service connects to the probes' own Service, whose endpoints are on every node.
type service struct{}

const (
	connectionsPerSecond = 5
	// askAgain is how often the Service's addresses are asked for: a name server may still
	// know those of the Service of an update before this one.
	askAgain = 5 * time.Second
)

func (service) Name() string         { return "service" }
func (service) Grace() time.Duration { return time.Minute }

// Run begins one connection after the other without waiting for their ends, to each address
// of the Service in turn.
func (s service) Run(ctx context.Context, env *Env, record func(Attempt)) {
	if !hasEndpoint(ctx, env) {
		return
	}
	addresses := addressesOf(ctx, env)
	newer := make(chan []netip.Addr, 1)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		for wait(ctx, askAgain) {
			found := lookUp(ctx, env)
			if len(found) == 0 {
				continue
			}
			select {
			case newer <- found:
			case <-ctx.Done():
			}
		}
	})
	for i := 0; len(addresses) > 0 && pause(ctx, time.Second/connectionsPerSecond); i++ {
		select {
		case addresses = <-newer:
		default:
		}
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
		if out := lookUp(ctx, env); len(out) > 0 {
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

// lookUp asks for the Service's addresses of the pod's families once.
func lookUp(ctx context.Context, env *Env) []netip.Addr {
	ctx, cancel := context.WithTimeout(ctx, fate)
	defer cancel()
	found, _ := env.Resolver.LookupNetIP(ctx, "ip", env.Host)
	var out []netip.Addr
	for _, a := range found {
		a = a.Unmap()
		if slices.ContainsFunc(env.Addresses, func(own netip.Addr) bool { return own.Is4() == a.Is4() }) {
			out = append(out, a)
		}
	}
	return out
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
