// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-io/fairlead/test/lab/plan"
	"github.com/fairlead-io/fairlead/test/lab/wire"
)

const maxBytes = 64 << 20

// playOutside opens the outside host's sockets in its namespace and serves them.
func playOutside(ctx context.Context, group *errgroup.Group, o plan.Outside) error {
	for _, ip := range []netip.Addr{o.IPv4, o.IPv6} {
		var tcp net.Listener
		var udp net.PacketConn
		err := wire.Inside(o.Netns, func() (err error) {
			if tcp, err = net.Listen("tcp", netip.AddrPortFrom(ip, uint16(o.HTTPPort)).String()); err != nil {
				return err
			}
			udp, err = net.ListenPacket("udp", netip.AddrPortFrom(ip, uint16(o.UDPPort)).String())
			return err
		})
		if err != nil {
			return fmt.Errorf("the outside host cannot listen: %w", err)
		}
		server := &http.Server{Handler: echoHTTP(), ReadHeaderTimeout: 10 * time.Second}
		context.AfterFunc(ctx, func() { server.Close(); udp.Close() })
		group.Go(func() error {
			if err := server.Serve(tcp); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
		group.Go(func() error { return echoUDP(ctx, udp) })
	}
	return nil
}

// echoHTTP answers every path with the peer's address and port. /bytes?n=N answers with N bytes and
// POST /count with the number of bytes received, for tests of the path MTU.
func echoHTTP() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.RemoteAddr) })
	mux.HandleFunc("GET /bytes", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.FormValue("n"), 10, 64)
		if err != nil || n < 0 || n > maxBytes {
			http.Error(w, fmt.Sprintf("n=%q: give a number from 0 to %d", r.FormValue("n"), maxBytes), http.StatusBadRequest)
			return
		}
		_, _ = io.CopyN(w, zeros{}, n) // The reader has gone: nobody to tell.
	})
	mux.HandleFunc("POST /count", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, n)
	})
	return mux
}

// echoUDP answers every datagram with the peer's address and port.
func echoUDP(ctx context.Context, c net.PacketConn) error {
	buf := make([]byte, 65535)
	for {
		_, peer, err := c.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			continue // Someone's ICMP error about an earlier answer.
		}
		_, _ = c.WriteTo([]byte(peer.String()+"\n"), peer)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
