// SPDX-License-Identifier: Apache-2.0

package pathmtu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Port is the UDP port that packets go to. Nothing of Fairlead's or Kubernetes' listens
// there. A program that does, and does not answer, makes its node look as if it
// filtered.
const Port = 9445

// wait is how long the answer to one packet may take: across continents and back, twice.
const wait = 500 * time.Millisecond

// Sockets is the network of the calling thread's namespace.
type Sockets struct {
	// DeviceMTU returns the MTU in bytes of the device that has an address.
	DeviceMTU func(netip.Addr) (int, error)
}

// Uplink implements Network.
func (s Sockets) Uplink(peer netip.Addr) (netip.Addr, int, error) {
	conn, err := dial(peer)
	if err != nil {
		return netip.Addr{}, 0, err
	}
	defer conn.Close() //nolint:errcheck // nothing was sent
	at, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, 0, fmt.Errorf("the socket to %s has the local address %v", peer, conn.LocalAddr())
	}
	local := at.AddrPort().Addr().Unmap()
	mtu, err := s.DeviceMTU(local)
	return local, mtu, err
}

// MTU implements Network.
func (s Sockets) MTU(local netip.Addr) (int, error) { return s.DeviceMTU(local) }

// Probe implements Network. Each packet has a socket of its own, so that a late answer
// to another one cannot be taken for its own.
func (s Sockets) Probe(ctx context.Context, peer netip.Addr, size int) (Answer, error) {
	conn, err := dial(peer)
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close() //nolint:errcheck // the packet is sent, or it is not
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return Answer{}, err
	}
	if _, err = conn.Write(make([]byte, size-headers(peer))); err == nil {
		// Something that listens there after all and answers has had the packet, too.
		_, err = conn.Read(make([]byte, 1))
	}
	switch {
	case err == nil, errors.Is(err, unix.ECONNREFUSED):
		return Answer{Verdict: Arrived}, nil
	case errors.Is(err, unix.EMSGSIZE):
		return Answer{Verdict: TooLarge, Fits: pathMTU(conn, peer)}, nil
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		// A filter that answers with a refusal is a filter all the same.
		return Answer{}, ctx.Err()
	}
	return Answer{}, err
}

// headers are the bytes of a packet that are not payload: IP (20 or 40) and UDP (8).
func headers(peer netip.Addr) int {
	if peer.Is4() {
		return 20 + 8
	}
	return 40 + 8
}

// dial connects a socket whose packets are sent whole or not at all, whatever the kernel
// has learned of the path so far.
func dial(peer netip.Addr) (*net.UDPConn, error) {
	network := "udp6"
	if peer.Is4() {
		network = "udp4"
	}
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) {
			if peer.Is4() {
				set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
				return
			}
			set = errors.Join(
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1))
		})
		return errors.Join(err, set)
	}}
	conn, err := d.Dial(network, netip.AddrPortFrom(peer, Port).String())
	if err != nil {
		return nil, err
	}
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a %s socket is a %T", network, conn), conn.Close())
	}
	return udp, nil
}

// pathMTU is what the kernel has learned of the path to a socket's peer, in bytes; 0
// when it says nothing.
func pathMTU(conn *net.UDPConn, peer netip.Addr) int {
	level, option := unix.IPPROTO_IPV6, unix.IPV6_MTU
	if peer.Is4() {
		level, option = unix.IPPROTO_IP, unix.IP_MTU
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	mtu := 0
	if err := raw.Control(func(fd uintptr) { mtu, err = unix.GetsockoptInt(int(fd), level, option) }); err != nil {
		return 0
	}
	return mtu
}
