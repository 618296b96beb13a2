// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	datagramSize = 64 // bytes of payload
	batch        = 32 // datagrams a system call, so that the path costs more than the calls
	// quiet is how long nothing must arrive until everything has.
	quiet = 200 * time.Millisecond
	// queue is the receiver's buffer in bytes: it has to ride out the scheduler, not to
	// hide a receiver that is too slow.
	queue = 4 << 20
)

// message is the kernel's struct mmsghdr.
type message struct {
	header unix.Msghdr
	length uint32
	_      uint32
}

// messages are a batch of datagrams with their memory.
type messages struct {
	list [batch]message
	iov  [batch]unix.Iovec
	data [batch][datagramSize]byte
}

func newMessages() *messages {
	m := &messages{}
	for i := range m.list {
		m.iov[i].Base = &m.data[i][0]
		m.iov[i].SetLen(datagramSize)
		m.list[i].header.Iov = &m.iov[i]
		m.list[i].header.SetIovlen(1)
	}
	return m
}

// transfer sends or receives up to a batch and says how many there were.
func (m *messages) transfer(number uintptr, fd, flags int) (int, error) {
	for {
		n, _, errno := syscall.Syscall6(number, uintptr(fd), uintptr(unsafe.Pointer(&m.list[0])), batch, uintptr(flags), 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// serveDatagrams counts what arrives, from the first to the last one before a silence.
func serveDatagrams(fd int) (Measurement, error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queue); err != nil {
		return nil, fmt.Errorf("SO_RCVBUFFORCE: %w (it needs CAP_NET_ADMIN)", err)
	}
	m := newMessages()
	total, err := m.transfer(unix.SYS_RECVMMSG, fd, unix.MSG_WAITFORONE)
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	start := time.Now()
	last := start
	// It asks again and again instead of waiting: were it to sleep between datagrams, the
	// sender would wake it each time, and the figure would be that of interrupts between
	// CPUs, which cost more than any of the paths on a virtual machine.
	for time.Since(last) < quiet {
		n, err := m.transfer(unix.SYS_RECVMMSG, fd, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("receive: %w", err)
		}
		total += n
		last = time.Now()
	}
	took := last.Sub(start)
	if took <= 0 {
		return nil, errors.New("no datagrams arrived after the first ones")
	}
	return Measurement{Rate: float64(total) / took.Seconds(), received: float64(total)}, nil
}

// Counts that the parent makes a loss of.
const (
	received Metric = "received"
	sent     Metric = "sent"
)

// sendDatagrams sends for the spec's duration, as fast as it can.
func sendDatagrams(spec Spec, to netip.AddrPort) (Measurement, error) {
	fd, err := dial(to, unix.SOCK_DGRAM)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) //nolint:errcheck // the process ends
	m := newMessages()
	total := 0
	for end := time.Now().Add(spec.Duration); time.Now().Before(end); {
		n, err := m.transfer(unix.SYS_SENDMMSG, fd, 0)
		if errors.Is(err, unix.ENOBUFS) {
			continue // a queue on the way is full: that is what unpaced means
		}
		if err != nil {
			return nil, fmt.Errorf("send to %s: %w", to, err)
		}
		total += n
	}
	return Measurement{sent: float64(total)}, nil
}
