// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// maxConnections is how many are served at a time; others wait in the queue.
const maxConnections = 64

// echoDatagrams sends the probes' datagrams back to where they came from until the context ends.
func echoDatagrams(ctx context.Context, conn *net.UDPConn) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	var own netip.AddrPort
	if a, ok := conn.LocalAddr().(*net.UDPAddr); ok {
		own = a.AddrPort()
	}
	buffer := make([]byte, largest)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			wait(ctx, look)
			continue
		}
		// Two that echo must never answer one another.
		if _, ours := numberOf(buffer[:n]); ours && from.Port() != own.Port() {
			_, _ = conn.WriteToUDPAddrPort(buffer[:n], from)
		}
	}
}

// echoConnections sends one byte of each connection back until the context ends.
func echoConnections(ctx context.Context, l net.Listener) {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	var running sync.WaitGroup
	defer running.Wait()
	room := make(chan struct{}, maxConnections)
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return
		}
		if err != nil {
			wait(ctx, look)
			continue
		}
		room <- struct{}{}
		running.Go(func() {
			defer func() { <-room }()
			echoOnce(ctx, conn)
		})
	}
}

func echoOnce(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(fate))
	var b [1]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return
	}
	_, _ = conn.Write(b[:])
}
