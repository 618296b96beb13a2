// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAPodsAgentHasStartedFromWhenItSaysSoUntilItEnds: the socket of a container that ended is
// still there when the next one starts, and says nothing.
func TestAPodsAgentHasStartedFromWhenItSaysSoUntilItEnds(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	says := func(when string, want bool) {
		t.Helper()
		if err := Started(t.Context(), socket); (err == nil) != want {
			t.Errorf("%s: started: %t (%v)", when, !want, err)
		}
	}
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	says("a container has ended", false)
	s := &started{socket: socket}
	defer s.close()
	says("the next one begins", false)
	for range 2 {
		if err := s.say(); err != nil {
			t.Fatal(err)
		}
		says("it has started", true)
	}
	s.close()
	says("it has ended", false)
	if err := (&started{}).say(); err != nil {
		t.Errorf("nobody asks, and yet: %v", err)
	}
}

// TestTheAddressOfHealthIsWaitedFor: an agent that is killed may let go of its turn first.
func TestTheAddressOfHealthIsWaitedFor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	time.AfterFunc(50*time.Millisecond, func() { _ = l.Close() })
	next, err := listenAfter(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close() //nolint:errcheck // the test ends here
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start := time.Now()
	if _, err := listenAfter(ctx, address); err == nil {
		t.Error("two have the address")
	}
	if _, err := listenAfter(t.Context(), address); !errors.Is(err, unix.EADDRINUSE) || time.Since(start) < freeWithin {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}
