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
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// magic begins each datagram, so that nothing else is answered.
	magic = "FLprobe1"
	// smallest is a datagram's size in bytes: magic and number.
	smallest = len(magic) + 8
	// largest is what fits an Ethernet frame; every fullEach-th datagram fills the MTU of
	// the pod, because a tunnel that is too narrow loses only those.
	largest  = 1500
	fullEach = 4
	// look is how often a flow looks for what is lost.
	look = 100 * time.Millisecond
)

// sender sends to one target, one flow after the other.
type sender struct {
	every atomic.Int64 // nanoseconds between two packets, on average
	end   context.CancelFunc
}

func startSender(ctx context.Context, running *sync.WaitGroup, t target, env *Env, record func(Attempt)) *sender {
	own, end := context.WithCancel(ctx)
	s := &sender{end: end}
	s.every.Store(int64(time.Second) / packetsPerSecond)
	running.Go(func() {
		for own.Err() == nil {
			f, err := newFlow(own, t, env.EchoPort)
			if err != nil {
				record(Attempt{Peer: t.String(), Began: time.Now(), Lost: true})
				wait(own, time.Second)
				continue
			}
			running.Go(func() { f.receive(own, record) })
			f.send(own, s, record)
		}
	})
	return s
}

// flow is packets with the same ports.
type flow struct {
	target target
	conn   *net.UDPConn
	full   int // bytes of a datagram that fills the MTU
	ended  context.CancelFunc
	over   context.Context

	mu     sync.Mutex
	number uint64
	flying []flying // by the time they were sent
}

// flying is a packet of which nothing is known yet.
type flying struct {
	number uint64
	sent   time.Time
}

func newFlow(ctx context.Context, t target, port uint16) (*flow, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(t.address, port)))
	if err != nil {
		return nil, err
	}
	f := &flow{target: t, conn: conn, full: fullSize(conn)}
	f.over, f.ended = context.WithCancel(ctx)
	return f, nil
}

// fullSize returns the size of a datagram that fills the MTU of the device that it leaves by.
func fullSize(conn *net.UDPConn) int {
	own, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return smallest
	}
	headers, mtu := 28, 1280 // of IPv4 and UDP; what every network has to carry in IPv6
	if own.IP.To4() == nil {
		headers = 48
	}
	devices, _ := net.Interfaces()
	for _, d := range devices {
		addresses, _ := d.Addrs()
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(own.IP) {
				mtu = d.MTU
			}
		}
	}
	return max(min(mtu, largest)-headers, smallest)
}

// send sends for the life of the flow.
func (f *flow) send(ctx context.Context, s *sender, record func(Attempt)) {
	defer f.ended()
	until := time.Now().Add(flowLife)
	datagram := append([]byte(magic), make([]byte, f.full-len(magic))...)
	for pause(ctx, time.Duration(s.every.Load())) && time.Now().Before(until) {
		number := f.launch()
		size := smallest
		if number%fullEach == 0 {
			size = f.full
		}
		binary.BigEndian.PutUint64(datagram[len(magic):], number)
		_, err := f.conn.Write(datagram[:size])
		if errors.Is(err, syscall.ECONNREFUSED) {
			// That is what became of an earlier one; this one was not sent.
			_, err = f.conn.Write(datagram[:size])
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		if sent, was := f.landed(number); was {
			record(Attempt{Peer: f.target.String(), Began: sent, Lost: true})
		}
	}
}

// launch returns the number of the next packet, which flies from now on.
func (f *flow) launch() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.number++
	f.flying = append(f.flying, flying{f.number, time.Now()})
	return f.number
}

// landed takes a packet out of the air, and says when it was sent, if it was there.
func (f *flow) landed(number uint64) (sent time.Time, was bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, p := range f.flying {
		if p.number == number {
			f.flying = append(f.flying[:i], f.flying[i+1:]...)
			return p.sent, true
		}
	}
	return time.Time{}, false
}

// receive takes answers until the fate of every packet is known, or none matters any more.
func (f *flow) receive(ctx context.Context, record func(Attempt)) {
	defer f.conn.Close()
	buffer := make([]byte, largest)
	for {
		_ = f.conn.SetReadDeadline(time.Now().Add(look))
		n, err := f.conn.Read(buffer)
		now := time.Now()
		if ctx.Err() != nil {
			return
		}
		if number, ok := numberOf(buffer[:n]); err == nil && ok {
			if sent, was := f.landed(number); was {
				record(Attempt{Peer: f.target.String(), Began: sent, Took: now.Sub(sent)})
			}
			continue
		}
		for _, p := range f.lost(now) {
			record(Attempt{Peer: f.target.String(), Began: p.sent, Lost: true})
		}
		if f.over.Err() != nil && f.empty() {
			return
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, syscall.ECONNREFUSED) {
			wait(ctx, look) // an error that stays must not make us spin
		}
	}
}

// lost returns the packets that are not expected any more, and forgets them.
func (f *flow) lost(now time.Time) []flying {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for n < len(f.flying) && now.Sub(f.flying[n].sent) > fate {
		n++
	}
	gone := f.flying[:n:n]
	f.flying = f.flying[n:]
	return gone
}

func (f *flow) empty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.flying) == 0
}

// numberOf returns the number of a datagram of ours.
func numberOf(datagram []byte) (uint64, bool) {
	if len(datagram) < smallest || string(datagram[:len(magic)]) != magic {
		return 0, false
	}
	return binary.BigEndian.Uint64(datagram[len(magic):]), true
}
