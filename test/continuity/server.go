// SPDX-License-Identifier: Apache-2.0

package continuity

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// receiveBuffer holds a second's datagrams, so that a busy machine is not taken for a
// network that loses some.
const receiveBuffer = 16 << 20

// recordSize is that of a datagram: the stream's number and the datagram's.
const recordSize = 64

// Server answers the connections of clients and counts their datagrams.
type Server struct {
	tcp *net.TCPListener
	udp *net.UDPConn

	mu      sync.Mutex
	streams map[uint64]uint64 // datagrams received, by stream
	conns   map[net.Conn]struct{}
	work    sync.WaitGroup
}

// Serve starts a server on an address, for TCP and UDP. The calling thread must be in the
// server's network namespace.
func Serve(ctx context.Context, at netip.AddrPort) (*Server, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", at.String())
	if err != nil {
		return nil, fmt.Errorf("continuity: %w", err)
	}
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("continuity: %w", err), l.Close())
	}
	s := &Server{tcp: l.(*net.TCPListener), udp: u, streams: map[uint64]uint64{}, conns: map[net.Conn]struct{}{}}
	if err := force(u, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
		return nil, errors.Join(fmt.Errorf("continuity: receive buffer of %d bytes: %w", receiveBuffer, err), s.Close())
	}
	s.work.Add(2)
	go s.accept()
	go s.count()
	return s, nil
}

// force sets a socket option in bytes.
func force(c syscall.Conn, option, value int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var opt error
	err = raw.Control(func(fd uintptr) { opt = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, value) })
	return errors.Join(err, opt)
}

func (s *Server) accept() {
	defer s.work.Done()
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.work.Add(1)
		go s.answer(c)
	}
}

// answer sends back what a client sends. A request with a stream's number instead is
// answered with the datagrams that have come of it.
func (s *Server) answer(c net.Conn) {
	defer s.work.Done()
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	var request [8]byte
	for {
		if _, err := io.ReadFull(c, request[:]); err != nil {
			return
		}
		if n := binary.BigEndian.Uint64(request[:]); n&isStream != 0 {
			s.mu.Lock()
			binary.BigEndian.PutUint64(request[:], s.streams[n])
			s.mu.Unlock()
		}
		if _, err := c.Write(request[:]); err != nil {
			return
		}
	}
}

// isStream tells the numbers of streams from those of exchanges.
const isStream = 1 << 63

func (s *Server) count() {
	defer s.work.Done()
	buf := make([]byte, 2*recordSize)
	for {
		n, err := s.udp.Read(buf)
		if err != nil {
			return
		}
		if n == recordSize {
			s.mu.Lock()
			s.streams[binary.BigEndian.Uint64(buf)]++
			s.mu.Unlock()
		}
	}
}

// Close ends the server and its connections.
func (s *Server) Close() error {
	err := errors.Join(s.tcp.Close(), s.udp.Close())
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
	return err
}
