// SPDX-License-Identifier: Apache-2.0

package cniserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead-io/fairlead/internal/agent/endpoint"
	"github.com/fairlead-io/fairlead/internal/cniapi"
)

// fake is a set of endpoints that only counts.
type fake struct {
	mu      sync.Mutex
	have    map[endpoint.Key]bool
	block   chan struct{} // ADD waits for it, when set
	added   chan struct{} // ADD tells when it was called, when set
	deleted chan struct{} // DEL tells when it took an endpoint away, when set
}

func (f *fake) Status() error { return nil }
func (f *fake) Add(_ context.Context, a endpoint.Attachment) (*cniapi.Result, error) {
	if f.added != nil {
		f.added <- struct{}{}
	}
	if f.block != nil {
		<-f.block
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.have[a.Key] = true
	// Longer than what a socket buffers, so that writing it to nobody fails.
	return &cniapi.Result{Interfaces: []cniapi.Interface{{Name: string(make([]byte, 1<<17))}}}, nil
}

func (f *fake) Del(_ context.Context, a endpoint.Attachment) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.have[a.Key] && f.deleted != nil {
		close(f.deleted)
	}
	delete(f.have, a.Key)
	return nil
}

func (f *fake) Check(context.Context, endpoint.Attachment, []netip.Addr) error {
	return errors.New("not this time")
}

func (f *fake) GC(context.Context, string, map[endpoint.Key]bool) error { return nil }

func serve(t *testing.T, f *fake) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "run", "cni.sock")
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(f, slog.New(slog.DiscardHandler), nil).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t)
	})
	return socket
}

func dial(t *testing.T, socket string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestAFailureIsAnswered(t *testing.T) {
	socket := serve(t, &fake{have: map[endpoint.Key]bool{}})
	for name, send := range map[string]func(net.Conn) error{
		"of a command": func(c net.Conn) error {
			return cniapi.Write(c, request(func(r *cniapi.Request) { r.Command, r.Config = cniapi.CommandCheck, []byte(`{"prevResult":{}}`) }))
		},
		"of the request itself": func(c net.Conn) error { _, err := c.Write([]byte("\x00\x00\x00\x01{")); return err },
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, socket)
			if err := send(c); err != nil {
				t.Fatal(err)
			}
			var resp cniapi.Response
			if err := cniapi.Read(c, &resp); err != nil || resp.Error == nil || resp.Error.Msg == "" {
				t.Errorf("got %+v, %v; want an error in words", resp, err)
			}
		})
	}
}

func TestAPluginThatIsKilledLeavesNoEndpoint(t *testing.T) {
	f := &fake{have: map[endpoint.Key]bool{}, block: make(chan struct{}), added: make(chan struct{}, 1), deleted: make(chan struct{})}
	socket := serve(t, f)
	c := dial(t, socket)
	if err := cniapi.Write(c, request(func(*cniapi.Request) {})); err != nil {
		t.Fatal(err)
	}
	<-f.added
	_ = c.Close()
	close(f.block)
	select {
	case <-f.deleted:
	case <-time.After(10 * time.Second):
		t.Fatal("the endpoint is still there")
	}
}

func TestANewAgentTakesTheSocketOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cni.sock")
	for range 2 { // the second finds the socket of the first
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		_ = l.Close()
	}
}
