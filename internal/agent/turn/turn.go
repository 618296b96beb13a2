// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The files, beside the agent's CNI socket.
const (
	servingFile  = "agent.lock"
	standingFile = "standby.lock"
)

// Place is the folder in which a node's agents agree whose turn it is. Removing it while
// agents run is no harm: each makes sure that what it has locked is what others will find.
type Place string

// Hold is a turn, or the place of the one that stands by, until it is let go.
type Hold struct{ file *os.File }

// Release lets go. What has been let go, and a nil Hold, are let go already.
func (h *Hold) Release() {
	if h != nil {
		_ = h.file.Close() // it was not written to
	}
}

// Take takes the turn if nobody has it; nil if somebody has.
func (p Place) Take() (*Hold, error) { return p.try(servingFile) }

// Await waits until the turn is free, and takes it.
func (p Place) Await(ctx context.Context) (*Hold, error) { return p.wait(ctx, servingFile) }

// StandBy waits until nobody else stands by, and is the one that does from then on.
func (p Place) StandBy(ctx context.Context) (*Hold, error) { return p.wait(ctx, standingFile) }

// SomebodyStandsBy says whether another agent is there to take the next turn.
func (p Place) SomebodyStandsBy() (bool, error) {
	h, err := p.try(standingFile)
	h.Release()
	return err == nil && h == nil, err
}

// try locks a file of the place; nil if it is locked.
func (p Place) try(name string) (*Hold, error) {
	for {
		f, err := p.open(name)
		if err != nil {
			return nil, err
		}
		switch err := lock(f, unix.LOCK_EX|unix.LOCK_NB); {
		case errors.Is(err, unix.EWOULDBLOCK):
			return nil, f.Close()
		case err != nil:
			return nil, errors.Join(err, f.Close())
		}
		if there(f) {
			return &Hold{f}, nil
		}
		_ = f.Close()
	}
}

// wait locks a file of the place when it is free.
func (p Place) wait(ctx context.Context, name string) (*Hold, error) {
	for {
		f, err := p.open(name)
		if err != nil {
			return nil, err
		}
		locked := make(chan error, 1)
		go func() { locked <- lock(f, unix.LOCK_EX) }()
		select {
		case <-ctx.Done():
			// Nothing calls a lock off that is waited for: should it come, it is let go.
			go func() { <-locked; _ = f.Close() }()
			return nil, ctx.Err()
		case err := <-locked:
			if err != nil {
				return nil, errors.Join(err, f.Close())
			}
		}
		if there(f) {
			return &Hold{f}, nil
		}
		_ = f.Close()
	}
}

func (p Place) open(name string) (*os.File, error) {
	if err := os.MkdirAll(string(p), 0o755); err != nil {
		return nil, fmt.Errorf("folder of the agents' locks: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(string(p), name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock of the node's agents: %w", err)
	}
	return f, nil
}

func lock(f *os.File, how int) error {
	for {
		switch err := unix.Flock(int(f.Fd()), how); err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}

// there says whether the file still has its name: one that was removed keeps nobody out.
func there(f *os.File) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.Name())
	return err == nil && os.SameFile(mine, named)
}
