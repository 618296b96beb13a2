// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// drain is how long the last answers are waited for.
const drain = 200 * time.Millisecond

// connectPatience is how long a connection may take: the kernel sends its first packet again after a
// second, so one that was lost is noticed, and a busy machine is not taken for it.
const connectPatience = 900 * time.Millisecond

// ring is how many messages may wait for an answer.
const ring = 1 << 16

// times are when messages were sent, by their numbers.
type times struct {
	mu sync.Mutex
	at [ring]time.Time
}

func (t *times) set(n uint64, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at[n%ring] = at
}

func (t *times) get(n uint64) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.at[n%ring]
}

// datagrams sends on one socket, whatever becomes of what was sent before.
func datagrams(ctx context.Context, p Path, interval time.Duration, s *state) error {
	conn, err := net.Dial("udp", p.Server)
	if err != nil {
		return err
	}
	var sent times
	var reader sync.WaitGroup
	reader.Go(func() {
		b := make([]byte, 2*recordSize)
		for {
			n, err := conn.Read(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil && n == recordSize { // An error is a refusal, which is no answer.
				s.got(sent.get(binary.BigEndian.Uint64(b[8:])))
			}
		}
	})
	number := uint64(0)
	every(ctx, interval, func(now time.Time) {
		number++
		sent.set(number, now)
		s.sending(now)
		_, _ = conn.Write(record(p.Stream, number)) // Refused is not answered.
		s.look(now)
	})
	time.Sleep(drain) // for answers under way
	err = conn.Close()
	reader.Wait()
	return err
}

// flow sends on one connection, a message at a time.
func flow(ctx context.Context, p Path, interval time.Duration, s *state) error {
	conn, err := net.DialTimeout("tcp", p.Server, 5*time.Second)
	if err != nil {
		return err
	}
	answers := make(chan struct{})
	var sentAt time.Time
	broken := make(chan error, 1)
	go func() {
		b := make([]byte, recordSize)
		for {
			if _, err := io.ReadFull(conn, b); err != nil {
				broken <- err
				return
			}
			answers <- struct{}{}
		}
	}()
	number, waits := uint64(0), false
	every(ctx, interval, func(now time.Time) {
		select {
		case <-answers:
			if s.closed() {
				sentAt = now // It was sent again since; when is the kernel's.
			}
			s.got(sentAt)
			waits = false
		default:
		}
		if !waits {
			number++
			sentAt, waits = now, true
			s.sending(now)
			_, _ = conn.Write(record(p.Stream, number)) // The kernel sends it again and again.
		}
		s.look(now)
	})
	// The reader may have one more answer.
	if waits {
		select {
		case <-answers:
			s.got(sentAt)
		case <-time.After(drain):
		}
	}
	err = conn.Close()
	for {
		select {
		case <-answers:
		case <-broken:
			return err
		}
	}
}

// connections makes one after another, each with a message.
func connections(ctx context.Context, p Path, interval time.Duration, s *state) error {
	dialer := net.Dialer{Timeout: connectPatience}
	number := uint64(0)
	every(ctx, interval, func(now time.Time) {
		number++
		s.sending(now)
		// The last one is not broken off: it would count as one that was not answered.
		if connection(context.WithoutCancel(ctx), dialer, p, number) == nil {
			s.got(now)
		}
		s.look(time.Now())
	})
	return nil
}

func connection(ctx context.Context, dialer net.Dialer, p Path, number uint64) error {
	conn, err := dialer.DialContext(ctx, "tcp", p.Server)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(dialer.Timeout)); err != nil {
		return err
	}
	if _, err := conn.Write(record(p.Stream, number)); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, recordSize))
	// Reset, so that the port is free again at once.
	return errors.Join(err, conn.(*net.TCPConn).SetLinger(0))
}

func record(stream, number uint64) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, recordSize), stream)
	return binary.BigEndian.AppendUint64(b, number)
}

// every calls a function at an interval; calls that come too late are left out.
func every(ctx context.Context, interval time.Duration, do func(now time.Time)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do(time.Now())
		}
	}
}
