// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/agent/turn"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// place is where the agents of the node agree whose turn it is.
func (c *Config) place() turn.Place { return turn.Place(filepath.Dir(c.Socket)) }

// standBy waits for the agent that serves the node to end, ready to come after it: what of a
// start can fail has been tried before. It changes nothing on the node.
func standBy(ctx context.Context, cfg Config, opts datapath.Options, started *started, log *slog.Logger) (*turn.Hold, error) {
	log.Info("another agent serves the node; this one looks whether it could", "node", cfg.NodeName)
	if err := rehearse(cfg, opts); err != nil {
		return nil, fmt.Errorf("node %s keeps the agent that it has: %w", cfg.NodeName, err)
	}
	next, err := cfg.place().StandBy(ctx)
	if err != nil {
		return nil, err
	}
	defer next.Release()
	if err := started.say(); err != nil {
		return nil, err
	}
	log.Info("the agent stands by", "node", cfg.NodeName)
	hold, err := cfg.place().Await(ctx)
	if err == nil {
		log.Info("the other agent has ended; this one serves the node", "node", cfg.NodeName)
	}
	return hold, err
}

// rehearse tries what of an agent's start can fail and can be tried without a change to the
// node. The error names each thing.
func rehearse(cfg Config, opts datapath.Options) error {
	errs := []error{datapath.Rehearse(opts)}
	for _, f := range []struct{ flag, path string }{
		{"--trust-bundle", cfg.TrustFile}, {"--token-file", cfg.TokenFile}, {"--cni-plugin", cfg.CNIPlugin},
	} {
		if f.path == "" {
			continue
		}
		if _, err := os.ReadFile(f.path); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.flag, err))
		}
	}
	for _, f := range []struct{ flag, path string }{
		{"--state-dir", cfg.StateDir}, {"--cni-bin-dir", cfg.CNIBinDir}, {"--cni-conf-dir", cfg.CNIConfDir},
	} {
		if err := unix.Access(f.path, unix.W_OK|unix.X_OK); err != nil {
			errs = append(errs, fmt.Errorf("%s: nothing can be written to %s: %w", f.flag, f.path, err))
		}
	}
	return errors.Join(errs...)
}

const (
	// freeWithin is how long the address of health may be in use by an agent that has no turn
	// any more: one that is killed lets go of the two at about the same time, in any order.
	freeWithin = 2 * time.Second
	freeEvery  = 5 * time.Millisecond
)

// listenAfter opens the address of health after another agent. One that has it on is of a
// version that takes no turns, and nothing may be changed beside it.
func listenAfter(ctx context.Context, address string) (net.Listener, error) {
	until := time.Now().Add(freeWithin)
	for {
		l, err := listenHealth(ctx, address)
		switch {
		case !errors.Is(err, unix.EADDRINUSE):
			return l, err
		case ctx.Err() != nil || time.Now().After(until):
			return nil, fmt.Errorf("%w: end the program that has it; an agent of a version that cannot stand by has to be replaced with spec.rollout.agents.maxSurge 0", err)
		}
		sleep(ctx, freeEvery)
	}
}

// ignoreEnd makes nothing of an error that the end of the context is.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}
