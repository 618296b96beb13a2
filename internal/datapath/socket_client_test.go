// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// socketClient is a process in a cgroup and a network namespace that uses sockets as it is
// told, one command after the other.
type socketClient struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

// socketCommand is what a client does, socketResult what came of it.
type socketCommand struct {
	Do     string // tcp, connected (UDP), datagram (UDP, by an address), connects; hold, hold-udp, held, wait
	To     netip.AddrPort
	Mapped bool // a socket of IPv6 for an address of IPv4
	Times  int
}

type socketResult struct {
	Answer string         // of the server: who it is
	Peer   netip.AddrPort // by getpeername, or the source of the answer
	Errno  syscall.Errno
	Err    string
	Counts map[string]int // answers of many connections
}

const socketsSpawned = "FAIRLEAD_TEST_SOCKETS"

// newCgroup makes a cgroup of version 2 that is removed with the test.
func newCgroup(t *testing.T) string {
	t.Helper()
	root, err := datapath.CgroupRoot("", "/sys/fs/cgroup")
	must(t, err)
	dir, err := os.MkdirTemp(root, "fairlead-test-*")
	must(t, err)
	t.Cleanup(func() { must(t, os.Remove(dir)) })
	return dir
}

// socketClient starts a client of a node's Services in a namespace.
func (n *node) socketClient(t *testing.T, in space) *socketClient {
	t.Helper()
	cgroup, err := os.Open(n.opts.CgroupRoot)
	must(t, err)
	defer cgroup.Close()
	cmd := exec.Command(must1(filepath.Abs(os.Args[0])))
	cmd.Env = append(os.Environ(), socketsSpawned+"=1", "GODEBUG=asyncpreemptoff=1") // its signals would interrupt system calls
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, in.Do(cmd.Start))
	t.Cleanup(func() {
		stdin.Close()
		must(t, cmd.Wait())
	})
	return &socketClient{t, stdin, bufio.NewScanner(stdout)}
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (c *socketClient) do(cmd socketCommand) socketResult {
	c.t.Helper()
	line, err := json.Marshal(cmd)
	must(c.t, err)
	_, err = fmt.Fprintf(c.in, "%s\n", line)
	must(c.t, err)
	if !c.out.Scan() {
		c.t.Fatalf("%+v: the client ended: %v", cmd, c.out.Err())
	}
	var r socketResult
	must(c.t, json.Unmarshal(c.out.Bytes(), &r))
	return r
}

// useSocketsIfSpawned is the client's side. It does not return in a client.
func useSocketsIfSpawned() {
	if os.Getenv(socketsSpawned) == "" {
		return
	}
	u := &socketUser{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var cmd socketCommand
		r := socketResult{}
		err := json.Unmarshal(lines.Bytes(), &cmd)
		if err == nil {
			err = u.do(cmd, &r)
		}
		if err != nil {
			r.Err = err.Error()
			errors.As(err, &r.Errno)
		}
		fmt.Println(string(must1(json.Marshal(r))))
	}
	os.Exit(0)
}

// socketUser uses sockets by system calls: package net remembers what it connected to, and
// asks the kernel no more.
type socketUser struct{ held int }

const socketTimeout = 3 * time.Second

func (u *socketUser) do(cmd socketCommand, r *socketResult) error {
	switch cmd.Do {
	case "tcp", "connected":
		fd, err := u.connect(cmd)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return ask(fd, nil, r)
	case "datagram":
		fd, err := u.open(cmd)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return ask(fd, sockaddr(cmd), r)
	case "connects":
		r.Counts = map[string]int{}
		for range cmd.Times {
			one := socketResult{}
			if err := u.do(socketCommand{Do: "tcp", To: cmd.To}, &one); err != nil {
				one.Answer = err.Error()
			}
			r.Counts[one.Answer]++
		}
		return nil
	case "hold", "hold-udp":
		fd, err := u.connect(cmd)
		if err != nil {
			return err
		}
		u.held = fd
		return ask(fd, nil, r)
	case "held":
		return ask(u.held, nil, r)
	case "wait": // until something comes, or the socket ends
		if _, _, err := unix.Recvfrom(u.held, make([]byte, 64), 0); err != nil {
			return err
		}
		return io.EOF
	}
	return fmt.Errorf("no such command: %q", cmd.Do)
}

func (u *socketUser) open(cmd socketCommand) (int, error) {
	family, kind := unix.AF_INET, unix.SOCK_DGRAM
	if cmd.To.Addr().Is6() || cmd.Mapped {
		family = unix.AF_INET6
	}
	if cmd.Do == "tcp" || cmd.Do == "hold" {
		kind = unix.SOCK_STREAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	wait := unix.NsecToTimeval(socketTimeout.Nanoseconds())
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, option, &wait); err != nil {
			return 0, errors.Join(err, unix.Close(fd))
		}
	}
	return fd, nil
}

func (u *socketUser) connect(cmd socketCommand) (int, error) {
	fd, err := u.open(cmd)
	if err != nil {
		return 0, err
	}
	if err := unix.Connect(fd, sockaddr(cmd)); err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// ask sends a question and takes the answer. Without an address the socket is connected.
func ask(fd int, to unix.Sockaddr, r *socketResult) error {
	if err := unix.Sendto(fd, []byte("?"), unix.MSG_NOSIGNAL, to); err != nil {
		return err
	}
	buf := make([]byte, 64)
	n, from, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return err
	}
	if n == 0 {
		return io.EOF
	}
	r.Answer = string(buf[:n])
	if to == nil {
		if from, err = unix.Getpeername(fd); err != nil {
			return err
		}
	}
	r.Peer = addrPortOf(from)
	return nil
}

func sockaddr(cmd socketCommand) unix.Sockaddr {
	if cmd.To.Addr().Is4() && !cmd.Mapped {
		return &unix.SockaddrInet4{Port: int(cmd.To.Port()), Addr: cmd.To.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(cmd.To.Port()), Addr: cmd.To.Addr().As16()}
}

func addrPortOf(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// answerAs answers every question at an address, over TCP and UDP, with a name.
func answerAs(t *testing.T, in space, at netip.AddrPort, name string) {
	t.Helper()
	var l net.Listener
	var p net.PacketConn
	must(t, in.Do(func() (err error) {
		if l, err = net.Listen("tcp", at.String()); err != nil {
			return err
		}
		p, err = net.ListenPacket("udp", at.String())
		return err
	}))
	done := make(chan struct{}, 2)
	t.Cleanup(func() {
		l.Close()
		p.Close()
		<-done
		<-done
	})
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 64)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := io.WriteString(c, name); err != nil {
						return
					}
				}
			}()
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		buf := make([]byte, 64)
		for {
			_, from, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			p.WriteTo([]byte(name), from)
		}
	}()
}
