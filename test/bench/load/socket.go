// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Congestion is the congestion control of every connection.
const Congestion = "cubic"

// newSocket makes a blocking socket of the address's family.
func newSocket(a netip.Addr, kind int) (int, error) {
	family := unix.AF_INET
	if a.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if kind == unix.SOCK_STREAM {
		if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, Congestion); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("congestion control %s: %w (load the kernel's module tcp_%s)", Congestion, err, Congestion)
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("TCP_NODELAY: %w", err)
		}
	}
	return fd, nil
}

// listenAll listens at ports of the address, at a free one when none is given, and returns
// the first of them.
func listenAll(a netip.Addr, kind int, ports []uint16) (fds []int, first uint16, err error) {
	if len(ports) == 0 {
		ports = []uint16{0}
	}
	for _, p := range ports {
		fd, port, err := listen(netip.AddrPortFrom(a, p), kind)
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			return nil, 0, err
		}
		if len(fds) == 0 {
			first = port
		}
		fds = append(fds, fd)
	}
	return fds, first, nil
}

// accept takes a connection of one of several listeners.
func accept(listeners []int) (int, error) {
	from := listeners[0]
	if len(listeners) > 1 {
		var err error
		if from, err = firstReady(listeners); err != nil {
			return -1, err
		}
	}
	fd, _, err := unix.Accept(from)
	if err != nil {
		return -1, fmt.Errorf("accept: %w", err)
	}
	return fd, nil
}

func firstReady(listeners []int) (int, error) {
	waiting := make([]unix.PollFd, len(listeners))
	for i, fd := range listeners {
		waiting[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	for {
		if _, err := unix.Poll(waiting, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return -1, fmt.Errorf("poll: %w", err)
		}
		for i, w := range waiting {
			if w.Revents != 0 {
				return listeners[i], nil
			}
		}
	}
}

// listen binds a socket to a port, 0 being any that is free; a stream socket listens.
func listen(a netip.AddrPort, kind int) (fd int, port uint16, err error) {
	if fd, err = newSocket(a.Addr(), kind); err != nil {
		return -1, 0, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil { // connections of the run before may linger
		return -1, 0, fmt.Errorf("SO_REUSEADDR: %w", err)
	}
	if err = unix.Bind(fd, sockaddr(a)); err != nil {
		return -1, 0, fmt.Errorf("bind %s: %w", a, err)
	}
	if kind == unix.SOCK_STREAM {
		if err = unix.Listen(fd, 512); err != nil {
			return -1, 0, fmt.Errorf("listen at %s: %w", a, err)
		}
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return -1, 0, fmt.Errorf("socket name: %w", err)
	}
	switch n := name.(type) {
	case *unix.SockaddrInet4:
		port = uint16(n.Port)
	case *unix.SockaddrInet6:
		port = uint16(n.Port)
	}
	return fd, port, nil
}

// dial connects a socket.
func dial(to netip.AddrPort, kind int) (int, error) {
	fd, err := newSocket(to.Addr(), kind)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, sockaddr(to)); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect to %s: %w", to, err)
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// call is a system call on a buffer that the scheduler does not hear of.
func call(number uintptr, fd int, buf []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR: // the runtime's own signals
		default:
			return 0, os.NewSyscallError("read or write", errno)
		}
	}
}

func rawRead(fd int, buf []byte) (int, error)  { return call(unix.SYS_READ, fd, buf) }
func rawWrite(fd int, buf []byte) (int, error) { return call(unix.SYS_WRITE, fd, buf) }
