// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"
)

// A dead control plane answers no connection attempt; do not wait for it longer than this.
const dialPatience = 3 * time.Second

type result struct {
	conn net.Conn
	err  error
}

// dial makes the socket on the calling thread: an address in numbers takes no second goroutine.
func dial(ctx context.Context, to string) result {
	d := net.Dialer{Timeout: dialPatience}
	c, err := d.DialContext(ctx, "tcp4", to)
	return result{c, err}
}

// forward passes each connection on to the address, until the context ends.
func forward(ctx context.Context, l net.Listener, connect func(context.Context, string) (net.Conn, error), to string) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		near, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			slog.Warn("cannot accept", "error", err)
			time.Sleep(50 * time.Millisecond) // Out of file descriptors, most likely: some will close.
			continue
		}
		go func() {
			defer near.Close()
			far, err := connect(ctx, to)
			if err != nil {
				slog.Warn("cannot reach the API server", "address", to, "error", err)
				return
			}
			defer far.Close()
			stop := context.AfterFunc(ctx, func() { near.Close(); far.Close() })
			defer stop()
			join(near.(*net.TCPConn), far.(*net.TCPConn))
		}()
	}
}

// join copies both ways and passes on each side's end of writing.
func join(a, b *net.TCPConn) {
	done := make(chan struct{}, 2)
	pass := func(to, from *net.TCPConn) {
		_, _ = io.Copy(to, from) // An error of one connection ends it, and nothing else.
		_ = to.CloseWrite()
		done <- struct{}{}
	}
	go pass(a, b)
	go pass(b, a)
	<-done
	<-done
}
