// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	stdsync "sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Client keeps an agent in step with its cluster's controllers. Make one with New,
// call Load once, then Run.
type Client struct {
	cfg      Config
	handler  Handler
	book     *addressBook
	identity *identity
	services *shelf
	policies *shelf
	lines    *lines

	mu     stdsync.Mutex
	inUse  *held // in force; replaced, never changed
	status Status
	dirty  chan struct{} // capacity 1: the state on disk is older than inUse
}

// Status is the client's connection as others may report it.
type Status struct {
	// Connected: a controller has answered on the present stream.
	Connected bool
	// Controller is the address of the present stream, or of the last one.
	Controller string
	// Since is when Connected last changed.
	Since time.Time
	// LastError is why the last attempt or stream ended; empty while connected.
	LastError string
}

// New checks the configuration and prepares the state directory. It starts nothing.
func New(cfg Config, h Handler) (*Client, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	if h == nil {
		return nil, errors.New("sync.New: the handler is nil; pass one")
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("the agent's state directory %s cannot be made: %w", cfg.StateDir, err)
	}
	addresses, err := readAddresses(cfg.StateDir)
	if err != nil {
		cfg.Log.Warn("the saved controller addresses cannot be used; waiting for new ones",
			"file", filepath.Join(cfg.StateDir, addressFile), "error", err)
	}
	c := &Client{
		cfg:      cfg,
		handler:  h,
		book:     newAddressBook(addresses),
		identity: newIdentity(cfg),
		services: newServiceShelf(cfg, h),
		policies: newPolicyShelf(cfg, h),
		inUse:    emptyHeld(),
		dirty:    make(chan struct{}, 1),
	}
	c.lines = &lines{client: c, open: map[string]*line{}}
	return c, nil
}

// Load reads the state that was last in force, so that an agent can start while no
// controller answers. A missing file gives an empty Update; so does one that is
// damaged or of another node or cluster, with a line in the log. Changed names every
// type that is known. Run will hand the same state to the handler once more.
func (c *Client) Load() (Update, error) {
	h, err := readState(c.cfg.StateDir, c.cfg.ClusterName, c.cfg.NodeName)
	if err != nil {
		c.cfg.Log.Warn("the saved state cannot be used; starting empty until a controller answers",
			"file", filepath.Join(c.cfg.StateDir, stateFile), "error", err)
		h = emptyHeld()
	}
	c.mu.Lock()
	c.inUse = h
	c.mu.Unlock()
	return h.update(c.cfg.NodeName, h.known), nil
}

// SetAddresses tells the client where the controllers are ("host:port"). An empty
// list is ignored: the last known addresses are worth more than none.
func (c *Client) SetAddresses(addresses []string) {
	addresses = cleanAddresses(addresses)
	if len(addresses) == 0 || !c.book.set(addresses) {
		return
	}
	c.cfg.Log.Info("controller addresses changed", "addresses", addresses)
	if err := writeAddresses(c.cfg.StateDir, addresses); err != nil {
		c.cfg.Log.Warn("the controller addresses cannot be saved", "error", err)
	}
}

// Status returns the present state of the connection.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// Current returns the complete state in force, with Changed empty.
func (c *Client) Current() Update {
	return c.current().update(c.cfg.NodeName, Types{})
}

// Run keeps one stream to one of the controllers until ctx ends. It returns nil then.
func (c *Client) Run(ctx context.Context) error {
	defer c.lines.closeAll()
	c.applyLoaded(ctx)
	for _, s := range c.shelves() {
		c.load(ctx, s)
		defer s.log.close() //nolint:errcheck // it was synced
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { c.follow(ctx); return nil })
	g.Go(func() error { c.renew(ctx); return nil })
	g.Go(func() error { c.save(ctx); return nil })
	for _, s := range c.shelves() {
		g.Go(func() error { c.syncLog(ctx, s.log); return nil })
	}
	return g.Wait()
}

// applyLoaded brings the loaded state into force. What the handler refuses is
// forgotten, so that the controllers send everything again.
func (c *Client) applyLoaded(ctx context.Context) {
	h := c.current()
	if !h.known.Any() {
		return
	}
	if err := c.handler.Apply(ctx, h.update(c.cfg.NodeName, h.known)); err != nil {
		c.cfg.Log.Warn("the saved state could not be brought into force; asking for all of it again", "error", err)
		c.mu.Lock()
		c.inUse = emptyHeld()
		c.mu.Unlock()
	}
}

// follow goes from controller to controller, with growing pauses while none answers.
func (c *Client) follow(ctx context.Context) {
	lost, wait := "", time.Duration(0)
	for ctx.Err() == nil {
		addresses, changed := c.book.get()
		answered := false
		for _, address := range order(addresses, lost) {
			if answered, lost = c.session(ctx, address), address; answered || ctx.Err() != nil {
				break
			}
		}
		if answered || wait == 0 {
			wait = c.cfg.FirstRetry
		} else {
			wait = min(2*wait, c.cfg.MaxRetry)
		}
		if len(addresses) == 0 {
			c.cfg.Log.Info("no controller address is known yet; waiting for the EndpointSlice fairlead-controller")
			sleep(ctx, changed, c.cfg.MaxRetry*6)
			continue
		}
		sleep(ctx, changed, jitter(wait))
	}
}

// jitter spreads a wait over its second half, so that agents which lost the same
// controller do not return as one.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// sleep waits for d, for the channel to close, or for ctx to end.
func sleep(ctx context.Context, wake <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-t.C:
	}
}

// save writes the state file behind the changes, at most once in SaveInterval, and
// once more at the end.
func (c *Client) save(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			select {
			case <-c.dirty:
				c.saveNow()
			default:
			}
			return
		case <-c.dirty:
			c.saveNow()
			sleep(ctx, nil, c.cfg.SaveInterval)
		}
	}
}

// syncLog brings a log to the disk behind the changes, as save does.
func (c *Client) syncLog(ctx context.Context, log *bookLog) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-log.dirty:
			sleep(ctx, nil, c.cfg.SyncInterval)
			if err := log.sync(); err != nil {
				c.cfg.Log.Warn("the log of "+log.what+" cannot be brought to the disk", "error", err)
			}
		}
	}
}

func (c *Client) saveNow() {
	data, err := encodeState(c.cfg.ClusterName, c.cfg.NodeName, c.current())
	if err == nil {
		err = writeAtomic(filepath.Join(c.cfg.StateDir, stateFile), data, 0o600)
	}
	if err != nil {
		c.cfg.Log.Warn("the state cannot be saved; a restart without a controller would start from an older one", "error", err)
	}
}

func (c *Client) current() *held {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inUse
}

func (c *Client) setCurrent(h *held) {
	c.mu.Lock()
	c.inUse = h
	c.mu.Unlock()
	select {
	case c.dirty <- struct{}{}:
	default:
	}
}

func (c *Client) setStatus(connected bool, controller string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status.Connected != connected || c.status.Since.IsZero() {
		c.status.Since = time.Now()
	}
	c.status.Connected, c.status.Controller, c.status.LastError = connected, controller, ""
	if err != nil {
		c.status.LastError = err.Error()
	}
}
