// SPDX-License-Identifier: Apache-2.0

package pathmtu

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// atOnce is the number of peers that are measured at a time.
	atOnce = 8
	// perSecond bounds the packets that are sent in total. With 1,000 peers that answer,
	// two packets each, the first round takes a minute.
	perSecond = 32
)

// Network sends the packets.
type Network interface {
	// Uplink returns the address that packets to a peer are sent from, and the MTU in
	// bytes of the device that has it.
	Uplink(peer netip.Addr) (local netip.Addr, mtu int, err error)
	// MTU returns the MTU in bytes of the device that has an address of this node.
	MTU(local netip.Addr) (int, error)
	// Probe sends one packet of a size in bytes and waits for what becomes of it. Its
	// error says that none could be sent.
	Probe(ctx context.Context, peer netip.Addr, size int) (Answer, error)
}

// Config is what a Prober is made of.
type Config struct {
	Network Network
	// Changed is called when the path to a peer has become another one. It must not block.
	Changed func()
	Log     *slog.Logger
}

// Prober keeps the path MTU of every peer.
type Prober struct {
	cfg   Config
	limit *rate.Limiter
	wake  chan struct{}

	mu   sync.Mutex
	book *book
}

// New returns a Prober without peers.
func New(cfg Config) *Prober {
	return &Prober{
		cfg: cfg, limit: rate.NewLimiter(perSecond, perSecond), wake: make(chan struct{}, 1),
		book: newBook(func(d time.Duration) time.Duration { return rand.N(d) }), //nolint:gosec // spreads work, hides nothing
	}
}

// SetPeers makes exactly these nodes the peers. Those that are new, or have a new
// address, are measured soon.
func (p *Prober) SetPeers(peers []Peer) {
	p.mu.Lock()
	more := p.book.setPeers(peers, time.Now())
	p.mu.Unlock()
	if more {
		p.nudge()
	}
}

// MTU returns the largest packet that arrives at a peer, in bytes; 0 when as large ones
// arrive as this node's uplink sends, or nothing is known.
func (p *Prober) MTU(peer string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if path := p.book.path(peer); path.Reduced {
		return path.MTU
	}
	return 0
}

// Paths returns what is known of all peers, sorted by name.
func (p *Prober) Paths() []Path {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.book.paths()
}

// Recheck looks at this node's devices, and measures those paths anew whose device has
// another MTU than when they were measured. Call it when devices change.
func (p *Prober) Recheck() {
	p.mu.Lock()
	locals := p.book.locals()
	p.mu.Unlock()
	stale := map[netip.Addr]bool{}
	for local, was := range locals {
		if mtu, err := p.cfg.Network.MTU(local); err != nil || mtu != was {
			stale[local] = true
		}
	}
	if len(stale) == 0 {
		return
	}
	p.mu.Lock()
	p.book.stale(stale, time.Now())
	p.mu.Unlock()
	p.nudge()
}

func (p *Prober) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// measured is the end of one search.
type measured struct {
	peer    netip.Addr
	finding finding
}

// Run measures until the context ends.
func (p *Prober) Run(ctx context.Context) error {
	results := make(chan measured)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for working := 0; ; {
		for working < atOnce && ctx.Err() == nil {
			peer, ok := p.take()
			if !ok {
				break
			}
			working++
			go func() { results <- measured{peer, p.measure(ctx, peer)} }()
		}
		timer.Reset(p.pause(working))
		select {
		case <-ctx.Done():
			for ; working > 0; working-- {
				<-results
			}
			return nil
		case r := <-results:
			working--
			if ctx.Err() == nil {
				p.note(r)
			}
		case <-p.wake:
		case <-timer.C:
		}
	}
}

func (p *Prober) take() (netip.Addr, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.book.take(time.Now())
}

// pause is the time until there is something to start; a result or a nudge ends it early.
func (p *Prober) pause(working int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	due, ok := p.book.next()
	if !ok || working == atOnce {
		return time.Hour
	}
	return time.Until(due)
}

// note keeps a result and tells the owner when the path to some peer became another one.
func (p *Prober) note(r measured) {
	p.mu.Lock()
	var before []Path
	for name, addresses := range p.book.peers {
		for _, a := range addresses {
			if a == r.peer {
				before = append(before, p.book.path(name))
			}
		}
	}
	p.book.note(r.peer, r.finding, time.Now())
	changed := false
	for _, was := range before {
		now := p.book.path(was.Peer)
		if now == was {
			continue
		}
		changed = true
		if now.Reduced || was.Reduced {
			p.cfg.Log.Info("the network carries other packets than before to a node", "node", now.Peer, "address", r.peer,
				"mtu", now.MTU, "before", was.MTU, "uplink", r.finding.uplink)
		}
	}
	p.mu.Unlock()
	if changed {
		p.cfg.Changed()
	}
}

// measure searches the largest packet that arrives at a peer.
func (p *Prober) measure(ctx context.Context, peer netip.Addr) finding {
	local, uplink, err := p.cfg.Network.Uplink(peer)
	if err != nil {
		p.cfg.Log.Debug("no packet can be sent to a node's address", "address", peer, "error", err)
		return finding{}
	}
	s := newSearch(uplink)
	for size, more := s.next(); more; size, more = s.next() {
		if err := p.limit.Wait(ctx); err != nil {
			return finding{}
		}
		answer, err := p.cfg.Network.Probe(ctx, peer, size)
		if err != nil {
			p.cfg.Log.Debug("no packet could be sent to a node's address", "address", peer, "bytes", size, "error", err)
			return finding{}
		}
		s.note(answer)
	}
	return finding{local: local, uplink: uplink, mtu: s.result()}
}
