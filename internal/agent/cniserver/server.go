// SPDX-License-Identifier: Apache-2.0

// Package cniserver answers the CNI plugin on the agent's unix socket. It owns
// the socket and the validation of requests; what a command does is package
// endpoint's.
package cniserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fairlead-io/fairlead/internal/agent/endpoint"
	"github.com/fairlead-io/fairlead/internal/cniapi"
)

// requestTimeout bounds the work for one request. A runtime gives a pod sandbox
// minutes; an ADD takes milliseconds.
const requestTimeout = 30 * time.Second

// Endpoints is what the server hands requests to.
type Endpoints interface {
	Status() error
	Add(context.Context, endpoint.Attachment) (*cniapi.Result, error)
	Del(context.Context, endpoint.Attachment) error
	Check(context.Context, endpoint.Attachment, []netip.Addr) error
	GC(ctx context.Context, network string, valid map[endpoint.Key]bool) error
}

// Observer is told of every request that was answered; err is nil on success.
type Observer func(command string, took time.Duration, err error)

// Server answers requests.
type Server struct {
	endpoints Endpoints
	log       *slog.Logger
	observe   Observer
}

// New returns a server over the endpoints. observe may be nil.
func New(endpoints Endpoints, log *slog.Logger, observe Observer) *Server {
	if observe == nil {
		observe = func(string, time.Duration, error) {}
	}
	return &Server{endpoints: endpoints, log: log, observe: observe}
}

// Listen opens the socket. One that an earlier agent left is replaced: there is
// one agent a node, and its DaemonSet starts a new one when the old has ended.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("CNI socket: %w", err)
	}
	// Bind beside it and rename, so that at no moment there is no socket to dial.
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("CNI socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("CNI socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(tmp, 0o600), os.Rename(tmp, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("CNI socket: %w", err), l.Close())
	}
	return l, nil
}

// Serve answers requests until the context ends, then waits for those under way.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case err != nil:
			return fmt.Errorf("CNI socket: %w", err)
		}
		wg.Go(func() { s.answer(context.WithoutCancel(ctx), conn) })
	}
}

func (s *Server) answer(ctx context.Context, conn net.Conn) {
	defer conn.Close() //nolint:errcheck // the answer was written or its failure handled
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_ = conn.SetReadDeadline(time.Now().Add(requestTimeout))

	var req cniapi.Request
	var resp cniapi.Response
	if err := cniapi.Read(conn, &req); err != nil {
		if errors.Is(err, io.EOF) {
			return // somebody only looked whether the agent listens
		}
		resp.Error = cniapi.Errorf(cniapi.CodeDecode, "the request cannot be read: %v", err)
		_ = cniapi.Write(conn, &resp)
		return
	}
	started := time.Now()
	var c call
	resp.Result, c, resp.Error = s.dispatch(ctx, &req)
	var failed error
	if resp.Error != nil {
		failed = resp.Error
		s.log.Warn("CNI request failed", "command", req.Command, "container", req.ContainerID, "pod", c.attachment.Pod.String(), "error", failed)
	}
	s.observe(knownCommand(req.Command), time.Since(started), failed)

	_ = conn.SetWriteDeadline(time.Now().Add(requestTimeout))
	if err := cniapi.Write(conn, &resp); err != nil && req.Command == cniapi.CommandAdd && resp.Error == nil {
		// The plugin was killed: the runtime takes the ADD as failed, and a failed
		// ADD leaves nothing.
		s.log.Warn("the plugin left before its ADD was answered; the endpoint is removed", "container", req.ContainerID, "error", err)
		if err := s.endpoints.Del(ctx, c.attachment); err != nil {
			s.log.Error("the endpoint could not be removed", "container", req.ContainerID, "error", err)
		}
	}
}

func (s *Server) dispatch(ctx context.Context, req *cniapi.Request) (*cniapi.Result, call, *cniapi.Error) {
	c, err := decode(req)
	var res *cniapi.Result
	if err == nil {
		switch req.Command {
		case cniapi.CommandStatus:
			err = s.endpoints.Status()
		case cniapi.CommandAdd:
			res, err = s.endpoints.Add(ctx, c.attachment)
		case cniapi.CommandDel:
			err = s.endpoints.Del(ctx, c.attachment)
		case cniapi.CommandCheck:
			err = s.endpoints.Check(ctx, c.attachment, c.previous)
		case cniapi.CommandGC:
			err = s.endpoints.GC(ctx, c.attachment.Network, c.valid)
		}
	}
	if err != nil {
		return nil, c, cniapi.AsError(err)
	}
	return res, c, nil
}

// knownCommand keeps what an unknown client sends out of metric labels.
func knownCommand(command string) string {
	switch command {
	case cniapi.CommandAdd, cniapi.CommandDel, cniapi.CommandCheck, cniapi.CommandGC, cniapi.CommandStatus:
		return command
	}
	return "unknown"
}
