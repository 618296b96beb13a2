// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"context"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := listenLocal(0)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func connect(ctx context.Context, to string) (net.Conn, error) {
	r := dial(ctx, to)
	return r.conn, r.err
}

// A client that has said everything must still get the whole answer.
func TestForwardPassesHalfClosedConnections(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	back, front := listen(t), listen(t)
	defer back.Close()
	var group errgroup.Group
	group.Go(func() error { return forward(ctx, front, connect, back.Addr().String()) })
	group.Go(func() error {
		c, err := back.Accept()
		if err != nil {
			return err
		}
		defer c.Close()
		question, err := io.ReadAll(c)
		if err != nil {
			return err
		}
		_, err = c.Write([]byte("answer to " + string(question)))
		return err
	})
	c, err := net.Dial("tcp", front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "answer to question" {
		t.Errorf("got %q, %v", got, err)
	}
	cancel()
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func TestForwardClosesWhatItCannotPassOn(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	nobody, front := listen(t), listen(t)
	nobody.Close()
	var group errgroup.Group
	group.Go(func() error { return forward(ctx, front, connect, nobody.Addr().String()) })
	c, err := net.Dial("tcp", front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the connection stays open: %v", err)
	}
	cancel()
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func TestListenLocalKeepsOrChangesThePort(t *testing.T) {
	taken := listen(t)
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	other, err := listenLocal(port)
	if err != nil {
		t.Fatal(err)
	}
	if got := other.Addr().(*net.TCPAddr).Port; got == port {
		t.Errorf("two listeners have port %d", port)
	}
	free := other.Addr().(*net.TCPAddr).Port
	other.Close()
	again, err := listenLocal(free)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := again.Addr().(*net.TCPAddr).Port; got != free {
		t.Errorf("port is %d, want %d again", got, free)
	}
}

func TestEcho(t *testing.T) {
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"peer's address", "GET", "/any/path", "", 200, "192.0.2.1:1234\n"},
		{"bytes", "GET", "/bytes?n=3", "", 200, "\x00\x00\x00"},
		{"no number of bytes", "GET", "/bytes?n=x", "", 400, "n=\"x\": give a number from 0 to 67108864\n"},
		{"too many bytes", "GET", "/bytes?n=67108865", "", 400, "n=\"67108865\": give a number from 0 to 67108864\n"},
		{"count", "POST", "/count", "12345", 200, "5\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(tc.method, tc.path, strings.NewReader(tc.body))
			echoHTTP().ServeHTTP(w, r)
			if w.Code != tc.status || w.Body.String() != tc.want {
				t.Errorf("got %d %q", w.Code, w.Body.String())
			}
		})
	}
}

func TestEchoUDP(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group errgroup.Group
	group.Go(func() error { return echoUDP(ctx, server) })
	c, err := net.Dial("udp", server.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if err != nil || string(buf[:n]) != c.LocalAddr().String()+"\n" {
		t.Errorf("got %q, %v", buf[:n], err)
	}
	cancel()
	server.Close()
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}
