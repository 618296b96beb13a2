// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// started tells whoever looks into the pod that its agent has started: that it serves the
// node, or stands by. The address of health cannot tell, as it is one for all agents of a
// node. There is nothing to be read: a socket that can be connected to says it all, and is
// dead with the process.
type started struct {
	socket string // "": nobody is told

	once     sync.Once
	listener net.Listener
	err      error
}

// say tells it from now on.
func (s *started) say() error {
	s.once.Do(func() {
		if s.socket == "" {
			return
		}
		// What an earlier container of the pod has left.
		if err := os.Remove(s.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.err = fmt.Errorf("--started-socket: %w", err)
			return
		}
		l, err := net.Listen("unix", s.socket)
		if err != nil {
			s.err = fmt.Errorf("--started-socket: %w", err)
			return
		}
		s.listener = l
		go answer(l)
	})
	return s.err
}

// answer lets go of everybody who connects.
func answer(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_ = c.Close() // nothing was said
	}
}

func (s *started) close() {
	if s.listener != nil {
		_ = s.listener.Close() // it is removed
	}
}

// startedWithin bounds the wait for an answer.
const startedWithin = 2 * time.Second

// Started says whether the agent of this pod has started, by its socket.
func Started(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, startedWithin)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("the agent has not started: %w", err)
	}
	return c.Close()
}
