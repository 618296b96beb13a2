// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// serveConnections answers one byte on each connection and closes it, until a connection
// comes that sends nothing.
func serveConnections(listeners []int) (Measurement, error) {
	buf := make([]byte, 1)
	for {
		fd, err := accept(listeners)
		if err != nil {
			return nil, err
		}
		n, err := rawRead(fd, buf)
		if err == nil && n == 1 {
			_, err = rawWrite(fd, buf)
		}
		unix.Close(fd)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return Measurement{}, nil
		}
	}
}

// connections makes one connection after another.
func connections(spec Spec, to netip.AddrPort) (Measurement, error) {
	start := time.Now()
	var from time.Duration
	lives := make([]time.Duration, 0, 1<<20)
	for now := time.Duration(0); now < spec.Duration; {
		last := now
		if err := connectOnce(to); err != nil {
			return nil, fmt.Errorf("connection %d: %w", len(lives)+1, err)
		}
		now = time.Since(start)
		if now < spec.warmUp() {
			from = now
			continue
		}
		lives = append(lives, now-last)
	}
	took := time.Since(start) - from
	fd, err := dial(to, unix.SOCK_STREAM) // tells the server that this was all
	if err != nil {
		return nil, err
	}
	unix.Close(fd)
	m := percentiles(lives)
	m[Rate] = float64(len(lives)) / took.Seconds()
	return m, nil
}

// connectOnce is one life of a connection. The server closes first and the client's close
// resets, so neither end keeps a connection in TIME_WAIT, whose number would slow down
// later ones and run out of ports.
func connectOnce(to netip.AddrPort) error {
	fd, err := dial(to, unix.SOCK_STREAM)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // resets
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return fmt.Errorf("SO_LINGER: %w", err)
	}
	buf := []byte{1}
	if _, err := rawWrite(fd, buf); err != nil {
		return err
	}
	n, err := rawRead(fd, buf)
	if err != nil {
		return err
	}
	if n == 0 {
		return errors.New("closed without an answer")
	}
	return nil
}
