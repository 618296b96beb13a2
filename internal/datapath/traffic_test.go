// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// patience is how long something may take that should happen at once.
const patience = 5 * time.Second

// tcpServer echoes the digest of what each connection sends, preceded by the address
// that it saw the client come from, until the test ends.
func tcpServer(t *testing.T, s space, at netip.AddrPort) {
	t.Helper()
	var l net.Listener
	must(t, s.Do(func() (err error) {
		l, err = net.Listen("tcp", at.String())
		return err
	}))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serveDigest(c)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
}

func serveDigest(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * patience))
	digest := sha256.New()
	if _, err := io.Copy(digest, c); err != nil {
		return
	}
	fmt.Fprintf(c, "%s %x", netip.MustParseAddrPort(c.RemoteAddr().String()).Addr(), digest.Sum(nil))
}

// tcpSend sends n bytes and returns the address that the server saw.
func tcpSend(s space, to netip.AddrPort, n int) (netip.Addr, error) {
	return tcpSendWithin(s, to, n, patience)
}

func tcpSendWithin(s space, to netip.AddrPort, n int, patience time.Duration) (netip.Addr, error) {
	payload := bytes.Repeat([]byte("fairlead"), n/8+1)[:n]
	var c net.Conn
	err := s.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", to.String(), patience)
		return err
	})
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * patience))
	if _, err := c.Write(payload); err != nil {
		return netip.Addr{}, err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return netip.Addr{}, err
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		return netip.Addr{}, err
	}
	from, digest, _ := bytes.Cut(answer, []byte(" "))
	if want := fmt.Sprintf("%x", sha256.Sum256(payload)); string(digest) != want {
		return netip.Addr{}, fmt.Errorf("the server got other bytes: answer %q", answer)
	}
	return netip.ParseAddr(string(from))
}

// udpServer answers each datagram with the client's address and the datagram.
func udpServer(t *testing.T, s space, at netip.AddrPort) {
	t.Helper()
	var c *net.UDPConn
	must(t, s.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err
	}))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 65536)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			answer := append([]byte(from.Addr().Unmap().String()+" "), buf[:n]...)
			c.WriteToUDPAddrPort(answer, from)
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-ended
	})
}

// udpDial returns a connected socket that never fragments when df is set.
func udpDial(s space, to netip.AddrPort, df bool) (*net.UDPConn, error) {
	var c *net.UDPConn
	err := s.Do(func() (err error) {
		c, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		return err
	})
	if err != nil || !df {
		return c, err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var opt error
	err = raw.Control(func(fd uintptr) {
		if to.Addr().Is4() {
			opt = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
		} else {
			opt = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO)
		}
	})
	return c, errors.Join(err, opt)
}

// udpAsk sends one datagram, again when it is lost, and returns the address that the
// server saw.
func udpAsk(s space, to netip.AddrPort, size int, df bool) (netip.Addr, error) {
	return udpAskWithin(s, to, size, df, patience)
}

func udpAskWithin(s space, to netip.AddrPort, size int, df bool, patience time.Duration) (netip.Addr, error) {
	c, err := udpDial(s, to, df)
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	payload := bytes.Repeat([]byte("x"), size)
	buf := make([]byte, 65536)
	for range 5 {
		if _, err := c.Write(payload); err != nil {
			return netip.Addr{}, err
		}
		c.SetReadDeadline(time.Now().Add(patience / 5))
		n, err := c.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return netip.Addr{}, err
		}
		if err != nil {
			continue
		}
		from, echo, _ := bytes.Cut(buf[:n], []byte(" "))
		if !bytes.Equal(echo, payload) {
			return netip.Addr{}, fmt.Errorf("got %d bytes back, not %d", len(echo), size)
		}
		return netip.ParseAddr(string(from))
	}
	return netip.Addr{}, fmt.Errorf("no answer from %s to %d bytes", to, size)
}

// udpSegments sends one buffer that the kernel (or the last device that must) cuts into
// datagrams, and expects an answer to each.
func udpSegments(s space, to netip.AddrPort) error {
	const size, segments = 1000, 8
	c, err := udpDial(s, to, false)
	if err != nil {
		return err
	}
	defer c.Close()
	control := make([]byte, unix.CmsgSpace(2))
	header := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	header.Level, header.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	header.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(control[unix.CmsgLen(0):], size)
	for range 5 {
		if _, _, err := c.WriteMsgUDP(make([]byte, size*segments), control, nil); err != nil {
			return err
		}
		answers := 0
		c.SetReadDeadline(time.Now().Add(patience / 5))
		for answers < segments {
			n, err := c.Read(make([]byte, 2000))
			if err != nil {
				break
			}
			if n < size {
				return fmt.Errorf("an answer of %d bytes to a segment of %d", n, size)
			}
			answers++
		}
		if answers == segments {
			return nil
		}
	}
	return fmt.Errorf("not all of %d segments were answered", segments)
}

// ping sends an echo request and waits for its reply.
func ping(s space, to netip.Addr) error {
	_, err := pingCounted(s, to, patience)
	return err
}

// pingCounted also returns how many requests were sent: on a busy machine an answer may take
// longer than the wait for it.
func pingCounted(s space, to netip.Addr, patience time.Duration) (sent int, err error) {
	network, request, reply := "ip4:icmp", byte(8), byte(0)
	if to.Is6() {
		network, request, reply = "ip6:ipv6-icmp", 128, 129
	}
	var c net.Conn
	err = s.Do(func() (err error) {
		c, err = net.DialTimeout(network, to.String(), patience)
		return err
	})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	const id = 4711
	message := []byte{request, 0, 0, 0, id >> 8, id & 0xff, 0, 1, 'f', 'a', 'i', 'r'}
	if to.Is4() {
		binary.BigEndian.PutUint16(message[2:], checksum(message))
	}
	buf := make([]byte, 1500)
	for range 5 {
		if _, err := c.Write(message); err != nil {
			return sent, err
		}
		sent++
		c.SetReadDeadline(time.Now().Add(patience / 5))
		for {
			n, _, err := c.(*net.IPConn).ReadFromIP(buf) // which strips the IPv4 header, Read does not
			if err != nil {
				break
			}
			if n >= 8 && buf[0] == reply && binary.BigEndian.Uint16(buf[4:]) == id {
				return sent, nil
			}
		}
	}
	return sent, fmt.Errorf("no echo reply from %s", to)
}

func isRefused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum + sum>>16)
}
