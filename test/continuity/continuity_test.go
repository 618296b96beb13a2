// SPDX-License-Identifier: Apache-2.0

package continuity

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	ServeIfSpawned()
	goleak.VerifyTestMain(m)
}

func serve(t *testing.T) (*Server, netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	s, err := Serve(context.Background(), at)
	if err != nil {
		t.Fatal(err)
	}
	return s, at
}

var all = Config{Flows: 20, Rest: 5 * time.Millisecond, DatagramRate: 1000, Connects: true}

// soon waits for some of everything.
func soon(t *testing.T, c *Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := c.Await(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestAGoodPath(t *testing.T) {
	s, at := serve(t)
	defer s.Close()
	c, err := Start(at, Here, all)
	if err != nil {
		t.Fatal(err)
	}
	soon(t, c)
	r, err := c.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if r.Exchanges < int64(all.Flows) || r.Received < int64(all.DatagramRate) || r.Connected < 10 {
		t.Errorf("next to nothing was tried: %+v", r)
	}
}

// TestAServerThatGoes: all three kinds notice.
func TestAServerThatGoes(t *testing.T) {
	s, at := serve(t)
	c, err := Start(at, Here, all)
	if err != nil {
		t.Fatal(err)
	}
	soon(t, c)
	s.Close()
	for until := time.Now().Add(10 * time.Second); c.broken.Load() < int64(all.Flows) || c.failed.Load() == 0 || c.refused.Load() == 0; {
		if time.Now().After(until) {
			t.Fatalf("nobody noticed: %d broken, %d failed, %d refused", c.broken.Load(), c.failed.Load(), c.refused.Load())
		}
		time.Sleep(time.Millisecond)
	}
	r, err := c.Stop()
	if err == nil || !strings.Contains(err.Error(), "ask the server") {
		t.Errorf("got error %v, want one about the server", err)
	}
	if r.Err() == nil || r.Broken != int64(all.Flows) || r.FirstError == "" {
		t.Errorf("got %+v, want all flows broken", r)
	}
}

func TestNobodyThere(t *testing.T) {
	s, at := serve(t)
	s.Close()
	if _, err := Start(at, Here, all); err == nil {
		t.Error("a load without a server")
	}
}

// TestAServerOfItsOwn: a process serves, and ends when it is told to.
func TestAServerOfItsOwn(t *testing.T) {
	s, at := serve(t)
	s.Close()
	stop, err := Spawn(Here, at)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Start(at, Here, all)
	if err != nil {
		t.Fatal(err)
	}
	soon(t, c)
	r, err := c.Stop()
	if err := errors.Join(err, r.Err(), stop()); err != nil {
		t.Error(err)
	}
	if _, err := Start(at, Here, all); err == nil {
		t.Error("the server is there after its end")
	}
}

// TestALostDatagram: one that the server does not count is lost.
func TestALostDatagram(t *testing.T) {
	r := Result{Sent: 10, Received: 9}
	if r.Lost() != 1 || r.Err() == nil || !strings.Contains(r.Err().Error(), "1 of 10 datagrams lost") {
		t.Errorf("lost %d, error %v", r.Lost(), r.Err())
	}
}
