// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// answerTimeout bounds the wait for one answer: a datagram that is lost is an error.
const answerTimeout = 2 * time.Second

// serveTCPRR echoes on one connection until the client closes it.
func serveTCPRR(listeners []int) (Measurement, error) {
	fd, err := accept(listeners)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) //nolint:errcheck // the process ends
	buf := make([]byte, 1)
	for {
		n, err := rawRead(fd, buf)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return Measurement{}, nil
		}
		if _, err := rawWrite(fd, buf); err != nil {
			return nil, err
		}
	}
}

// serveUDPRR echoes datagrams of one client until an empty one comes.
func serveUDPRR(fd int) (Measurement, error) {
	buf := make([]byte, 16)
	_, from, err := unix.Recvfrom(fd, buf, unix.MSG_PEEK)
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	if err := unix.Connect(fd, from); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	for {
		n, err := rawRead(fd, buf)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return Measurement{}, nil
		}
		if _, err := rawWrite(fd, buf[:n]); err != nil {
			return nil, err
		}
	}
}

// roundTrips sends one byte at a time and waits for it to come back.
func roundTrips(spec Spec, to netip.AddrPort) (Measurement, error) {
	kind := unix.SOCK_STREAM
	if spec.Case == UDPRR {
		kind = unix.SOCK_DGRAM
	}
	fd, err := dial(to, kind)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) //nolint:errcheck // the process ends
	limit := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return nil, fmt.Errorf("SO_RCVTIMEO: %w", err)
	}
	took, err := exchange(fd, spec)
	if err != nil {
		return nil, err
	}
	if kind == unix.SOCK_DGRAM {
		if err := unix.Send(fd, nil, 0); err != nil { // tells the server that this was all
			return nil, fmt.Errorf("send: %w", err)
		}
	}
	return percentiles(took), nil
}

func exchange(fd int, spec Spec) ([]time.Duration, error) {
	buf := []byte{1}
	took := make([]time.Duration, 0, 1<<20)
	start := time.Now()
	counted := spec.warmUp()
	for last := time.Duration(0); last < spec.Duration; {
		if _, err := rawWrite(fd, buf); err != nil {
			return nil, err
		}
		n, err := rawRead(fd, buf)
		if errors.Is(err, unix.EAGAIN) {
			return nil, fmt.Errorf("no answer within %v", answerTimeout)
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, errors.New("the server closed the connection")
		}
		now := time.Since(start)
		if last >= counted && len(took) < cap(took) {
			took = append(took, now-last)
		}
		last = now
	}
	return took, nil
}

func percentiles(took []time.Duration) Measurement {
	if len(took) == 0 {
		return Measurement{}
	}
	slices.Sort(took)
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	return Measurement{P50: us(took[len(took)/2]), P99: us(took[len(took)*99/100])}
}
