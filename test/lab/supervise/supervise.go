// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-io/fairlead/test/lab/node"
	"github.com/fairlead-io/fairlead/test/lab/plan"
	"github.com/fairlead-io/fairlead/test/lab/wire"
)

// Command is the hidden subcommand by which the lab's program becomes the supervisor.
const Command = "supervise"

// Ports says on which port of 127.0.0.1 each cluster's API server is reached.
type Ports map[string]int

// PID is the file that names a lab's supervisor.
func PID(labDir string) node.PIDFile { return node.PIDFile(filepath.Join(labDir, "supervisor.pid")) }

func portsFile(labDir string) string { return filepath.Join(labDir, "ports.json") }

// LoadPorts reads the ports that the supervisor has chosen.
func LoadPorts(labDir string) (Ports, error) {
	raw, err := os.ReadFile(portsFile(labDir))
	if err != nil {
		return nil, err
	}
	var p Ports
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("%s is damaged: remove it and run `lab up`: %w", portsFile(labDir), err)
	}
	return p, nil
}

// Run serves until the context ends. It calls ready when everything listens, and then has others run
// beside it, which may open and close ways to API servers.
func Run(ctx context.Context, p plan.Plan, ready func() error, beside ...func(context.Context, *Forwards) error) error {
	group, ctx := errgroup.WithContext(ctx)
	forwards := newForwards(ctx, p)
	for _, c := range p.Clusters {
		if _, err := forwards.Open(c); err != nil {
			return err
		}
	}
	if err := playOutside(ctx, group, p.Outside); err != nil {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	slog.Info("supervisor is up", "lab", p.ID)
	for _, f := range beside {
		group.Go(func() error { return f(ctx, forwards) })
	}
	group.Go(func() error { <-ctx.Done(); return nil })
	return group.Wait()
}

func listenLocal(port int) (net.Listener, error) {
	if l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
		return l, nil
	}
	return net.Listen("tcp4", "127.0.0.1:0")
}

// dialerIn connects from inside a network namespace. One thread that stays there makes the sockets.
func dialerIn(ctx context.Context, netns string) func(context.Context, string) (net.Conn, error) {
	type request struct {
		ctx    context.Context
		to     string
		answer chan<- result
	}
	requests := make(chan request)
	go func() {
		runtime.LockOSThread()
		err := wire.Enter(netns)
		for {
			select {
			case r := <-requests:
				if err != nil {
					r.answer <- result{err: err}
					continue
				}
				r.answer <- dial(r.ctx, r.to)
			case <-ctx.Done():
				return
			}
		}
	}()
	return func(ctx context.Context, to string) (net.Conn, error) {
		answer := make(chan result, 1)
		select {
		case requests <- request{ctx, to, answer}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		r := <-answer
		return r.conn, r.err
	}
}
