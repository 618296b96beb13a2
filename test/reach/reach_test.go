// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const port = 17900

// gate stands between a watch and its server, for datagrams, and can be shut.
type gate struct {
	conn net.PacketConn
	shut atomic.Bool
	work sync.WaitGroup
}

func newGate(t *testing.T) *gate {
	t.Helper()
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{conn: front}
	var client atomic.Pointer[net.Addr]
	g.work.Go(func() {
		b := make([]byte, 100)
		for {
			n, from, err := front.ReadFrom(b)
			if err != nil {
				return
			}
			client.Store(&from)
			if !g.shut.Load() {
				_, _ = back.Write(b[:n])
			}
		}
	})
	g.work.Go(func() {
		b := make([]byte, 100)
		for {
			n, err := back.Read(b)
			if err != nil {
				return
			}
			_, _ = front.WriteTo(b[:n], *client.Load())
		}
	})
	t.Cleanup(func() { front.Close(); back.Close(); g.work.Wait() })
	return g
}

// TestAWatchTellsWhenPacketsPass: a path is open, is shut, and is opened, and each change is told
// with the time at which it came about. Connections that nobody shuts stay open.
func TestAWatchTellsWhenPacketsPass(t *testing.T) {
	s, err := Serve(t.Context(), port)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // a server of the test
	g := newGate(t)
	changes := make(chan Change, 100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	server := fmt.Sprintf("127.0.0.1:%d", port)
	go func() {
		ended <- Watch(ctx, Config{Interval: time.Millisecond, Silence: 100 * time.Millisecond, Paths: []Path{
			{Name: "shut", Kind: UDP, Server: g.conn.LocalAddr().String(), Stream: 1},
			{Name: "flow", Kind: Flow, Server: server, Stream: 2},
			{Name: "new", Kind: New, Server: server, Stream: 3},
		}}, func(c Change) { changes <- c })
	}()
	open := map[string]bool{}
	for len(open) < 3 {
		if c := await(t, changes); !c.Passes {
			t.Fatalf("%+v: want it to pass", c)
		} else {
			open[c.Path] = true
		}
	}
	for _, passes := range []bool{false, true} {
		at := time.Now().UnixNano()
		g.shut.Store(!passes)
		c := await(t, changes)
		if c.Path != "shut" || c.Passes != passes || c.At < at-int64(50*time.Millisecond) || c.At > at+int64(time.Second) {
			t.Fatalf("%+v: want a change to %v at %d", c, passes, at)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	close(changes)
	seen, last := s.Seen(), map[string]Change{}
	for c := range changes {
		if !c.Done {
			t.Errorf("%+v: want the last reports alone", c)
		}
		last[c.Path] = c
	}
	if c := last["flow"]; c.Sent == 0 || c.Answered != c.Sent || seen[2] != c.Sent {
		t.Errorf("flow: %+v, and the server has seen %d", c, seen[2])
	}
	if c := last["shut"]; c.Answered >= c.Sent || seen[1] != c.Answered {
		t.Errorf("datagrams: %+v, and the server has seen %d", c, seen[1])
	}
}

func await(t *testing.T, changes <-chan Change) Change {
	t.Helper()
	select {
	case c := <-changes:
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("nothing changes")
		return Change{}
	}
}

// TestWhatAServerHasSeenIsAskedByItsHost.
func TestWhatAServerHasSeenIsAskedByItsHost(t *testing.T) {
	s, err := Serve(t.Context(), port)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // as above
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // as above
	if _, err := c.Write(record(7, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, recordSize)); err != nil {
		t.Fatal(err)
	}
	seen, err := Ask(t.Context(), port)
	if err != nil || len(seen) != 1 || seen[7] != 1 {
		t.Errorf("%v, %v", seen, err)
	}
}

func TestAWatchNeedsToKnowWhat(t *testing.T) {
	for name, cfg := range map[string]Config{
		"nothing":      {},
		"no such kind": {Interval: 1, Silence: 1, Paths: []Path{{Name: "x", Kind: "icmp"}}},
	} {
		if err := Watch(t.Context(), cfg, func(Change) {}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
