// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// recordSize is that of a message: the stream's number and the message's.
const recordSize = 16

// Seen are the messages that have arrived of each stream.
type Seen map[uint64]uint64

// Server answers messages, over UDP and over TCP connections, with what they hold.
type Server struct {
	udp  net.PacketConn
	tcp  net.Listener
	http *http.Server
	work sync.WaitGroup

	mu    sync.Mutex
	seen  Seen
	conns map[net.Conn]struct{}
}

// Serve starts a server on a port of all addresses. What it has seen can be asked at the port after
// it, from its own host alone (Ask).
func Serve(ctx context.Context, port int) (*Server, error) {
	var lc net.ListenConfig
	s := &Server{seen: Seen{}, conns: map[net.Conn]struct{}{}}
	var err error
	if s.udp, err = lc.ListenPacket(ctx, "udp", net.JoinHostPort("", strconv.Itoa(port))); err != nil {
		return nil, fmt.Errorf("reach: %w", err)
	}
	if s.tcp, err = lc.Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(port))); err != nil {
		return nil, errors.Join(fmt.Errorf("reach: %w", err), s.udp.Close())
	}
	own, err := lc.Listen(ctx, "tcp", askAddress(port))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reach: %w", err), s.udp.Close(), s.tcp.Close())
	}
	s.http = &http.Server{Handler: http.HandlerFunc(s.tell), ReadHeaderTimeout: time.Second}
	s.work.Go(s.datagrams)
	s.work.Go(s.accept)
	s.work.Go(func() { _ = s.http.Serve(own) }) // Close ends it.
	return s, nil
}

func askAddress(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port+1)) }

func (s *Server) note(record []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[binary.BigEndian.Uint64(record)]++
}

// Seen returns what has arrived.
func (s *Server) Seen() Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Seen{}
	for stream, n := range s.seen {
		out[stream] = n
	}
	return out
}

func (s *Server) tell(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(s.Seen()) // The client sees that it is cut off.
}

func (s *Server) datagrams() {
	b := make([]byte, 2*recordSize)
	for {
		n, from, err := s.udp.ReadFrom(b)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if n == recordSize {
			s.note(b)
			_, _ = s.udp.WriteTo(b[:n], from) // A client that is gone is none of its business.
		}
	}
}

func (s *Server) accept() {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.work.Go(func() { s.answer(c) })
	}
}

func (s *Server) answer(c net.Conn) {
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	var b [recordSize]byte
	for {
		if _, err := io.ReadFull(c, b[:]); err != nil {
			return
		}
		s.note(b[:])
		if _, err := c.Write(b[:]); err != nil {
			return
		}
	}
}

// Close ends the server and its connections.
func (s *Server) Close() error {
	err := errors.Join(s.udp.Close(), s.tcp.Close(), s.http.Close())
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
	return err
}

// Ask returns what the server at a port of this host has seen.
func Ask(ctx context.Context, port int) (Seen, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+askAddress(port), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	seen := Seen{}
	return seen, json.NewDecoder(resp.Body).Decode(&seen)
}
