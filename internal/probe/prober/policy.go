// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// policy sends datagrams to a port of other nodes' probes that a NetworkPolicy closes. It is the
// other way round: an attempt has failed when it is answered. That the policy lets through what it
// should is what peers and service find out, since their ports are all that it opens.
type policy struct{}

const (
	forbiddenPerSecond = 5
	// unanswered is how long nothing must come until a datagram counts as dropped. A late
	// answer is not waited for: where one passes, others are in time.
	unanswered = 500 * time.Millisecond
)

func (policy) Name() string { return "policy" }

// Grace is that of peers: a policy is in force soon after pods are there, if at all.
func (policy) Grace() time.Duration { return 15 * time.Second }

// Run tries the targets of peers in turn, each time with ports of its own, so that no earlier
// verdict answers for it.
func (policy) Run(ctx context.Context, env *Env, record func(Attempt)) {
	var running sync.WaitGroup
	defer running.Wait()
	for i := 0; pause(ctx, time.Second/forbiddenPerSecond); i++ {
		all, _ := env.roster.get()
		to := targets(env.Node, env.Addresses, all)
		if len(to) == 0 {
			continue
		}
		t := to[i%len(to)]
		running.Go(func() {
			began := time.Now()
			passed, known := passes(ctx, netip.AddrPortFrom(t.address, env.ForbiddenPort), uint64(i))
			if known && ctx.Err() == nil {
				// How long a datagram was not answered is no figure of the network's.
				record(Attempt{Peer: t.String() + ", whose policy forbids it", Began: began, Lost: passed})
			}
		})
	}
}

// passes says whether a datagram comes to its end: it is answered, or refused there. It is not
// known of one that could not be sent.
func passes(ctx context.Context, to netip.AddrPort, number uint64) (passed, known bool) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return false, false
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(unanswered)); err != nil {
		return false, false
	}
	if _, err := conn.Write(binary.BigEndian.AppendUint64([]byte(magic), number)); err != nil {
		return false, false
	}
	_, err = conn.Read(make([]byte, largest))
	return !errors.Is(err, os.ErrDeadlineExceeded), true
}
