// SPDX-License-Identifier: Apache-2.0

package continuity

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAFirstPacketThatIsLost: the kernel drops the first packet of a connection that a
// listener has no room for. The connection is made by the second, and counts as slow.
func TestAFirstPacketThatIsLost(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	listener := os.NewFile(uintptr(fd), "listener")
	defer listener.Close()
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil { // room for one
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*unix.SockaddrInet4).Port))
	first, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()

	c := &Client{server: at}
	type outcome struct {
		again uint32
		err   error
	}
	ended := make(chan outcome, 1)
	go func() {
		again, err := c.connect()
		ended <- outcome{again, err}
	}()
	for until := time.Now().Add(giveUp); !sendsAgain(t, at.Port()); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the listener has room for more than one connection")
		}
	}
	for range 2 {
		conn, _, err := unix.Accept(fd)
		if err != nil {
			t.Fatal(err)
		}
		served := os.NewFile(uintptr(conn), "served")
		defer served.Close()
		go io.Copy(served, served) //nolint:errcheck // it ends with the test
	}
	if got := <-ended; got.err != nil || got.again == 0 {
		t.Errorf("got %d packets sent again and error %v, want one and more", got.again, got.err)
	}
}

// sendsAgain says whether a connection to a local port, not made yet, has its first packet
// sent again.
func sendsAgain(t *testing.T, port uint16) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	var loopback [4]byte
	binary.BigEndian.PutUint32(loopback[:], 0x7f000001)
	remote := fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(loopback[:]), port)
	const sent = "02"
	for _, line := range strings.Split(string(table), "\n") {
		if f := strings.Fields(line); len(f) > 6 && f[2] == remote && f[3] == sent && strings.Trim(f[6], "0") != "" {
			return true
		}
	}
	return false
}
