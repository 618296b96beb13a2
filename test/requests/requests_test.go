// SPDX-License-Identifier: Apache-2.0

package requests

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"
)

// free returns an address of loopback that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it was never used
	return l.Addr().String()
}

// running starts a server and waits until it answers.
func running(t *testing.T, address string) (stop context.CancelFunc, ended chan error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended = make(chan error, 1)
	go func() { ended <- Serve(ctx, address, "one", 100*time.Millisecond) }()
	for {
		resp, err := http.Get("http://" + address)
		if err == nil {
			resp.Body.Close() //nolint:errcheck // as above
			return stop, ended
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

func run(t *testing.T, cfg Config, until func()) Result {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan Result, 1)
	go func() {
		r, err := Run(ctx, cfg)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	until()
	cancel()
	return <-done
}

func TestRequestsAreCounted(t *testing.T) {
	for name, fresh := range map[string]bool{"kept": false, "fresh": true} {
		t.Run(name, func(t *testing.T) {
			address := free(t)
			stop, ended := running(t, address)
			r := run(t, Config{Server: address, Rate: 200, Fresh: fresh}, func() { time.Sleep(time.Second) })
			if r.Failed != 0 || r.Sent < 50 || r.Servers["one"] != r.Sent {
				t.Errorf("got %+v, want only answers of one", r)
			}
			if fresh != (r.Connections >= r.Sent) {
				t.Errorf("%d connections for %d requests", r.Connections, r.Sent)
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAServerThatIsGoneIsSeen: requests fail once it has ended, and not before.
func TestAServerThatIsGoneIsSeen(t *testing.T) {
	address := free(t)
	stop, ended := running(t, address)
	var before Result
	after := run(t, Config{Server: address, Rate: 200}, func() {
		before = run(t, Config{Server: address, Rate: 200}, func() { time.Sleep(300 * time.Millisecond) })
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		time.Sleep(300 * time.Millisecond)
	})
	if before.Failed != 0 {
		t.Errorf("before its end: %+v", before)
	}
	if after.Failed == 0 || len(after.Errors) == 0 {
		t.Errorf("after its end: %+v, want failures", after)
	}
}
