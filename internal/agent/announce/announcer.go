// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Port is the UDP port that agents hear one another on.
const Port = 9446

const (
	// interval is the time between two questions to a peer.
	interval = 250 * time.Millisecond
	// look is how often devices are looked at that nobody says have changed.
	look = 10 * time.Second
	// again is when sockets are tried again that could not be opened.
	again = 5 * time.Second
)

// repeats are the times after a take-over at which the segment is told, since frames get
// lost: a host that missed all of them asks anew when its own entry is stale.
var repeats = []time.Duration{0, time.Second, 3 * time.Second}

// Config is what an Announcer is made of.
type Config struct {
	Node string // this node's name
	Port uint16 // of UDP; 0: Port
	// DevicesOf returns the names of the devices that have one of the addresses.
	DevicesOf func([]netip.Addr) ([]string, error)
	Log       *slog.Logger
}

// State is all that an Announcer follows.
type State struct {
	// Addresses are this node's own.
	Addresses []netip.Addr
	// Peers are the other nodes' addresses.
	Peers map[string][]netip.Addr
	Items []Item
	// Key is the secret that the agents share.
	Key []byte
}

// Announcer announces addresses on this node's segments.
type Announcer struct {
	cfg     Config
	changed chan struct{}
	broken  chan struct{}

	mu    sync.Mutex
	state State
	own   []netip.Addr
}

// New returns an Announcer that has nothing to announce.
func New(cfg Config) *Announcer {
	if cfg.Port == 0 {
		cfg.Port = Port
	}
	return &Announcer{cfg: cfg, changed: make(chan struct{}, 1), broken: make(chan struct{}, 1)}
}

// Set makes s what is followed. It does not wait.
func (a *Announcer) Set(s State) {
	a.mu.Lock()
	a.state = s
	a.mu.Unlock()
	a.nudge(a.changed)
}

// Recheck looks at the node's devices again. Call it when they change.
func (a *Announcer) Recheck() { a.nudge(a.changed) }

// Announced returns the addresses that this node announces now, sorted.
func (a *Announcer) Announced() []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.own)
}

func (a *Announcer) nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }

// Run announces until the context ends, and then hands over. It opens no socket before
// there is something to announce, and tries again what cannot be opened: an agent without
// it is of use all the same.
func (a *Announcer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-a.changed:
		}
		if !a.candidate() {
			continue
		}
		if err := a.session(ctx); err != nil {
			a.cfg.Log.Warn("addresses of load balancers are not announced; trying again", "error", err)
			time.AfterFunc(again, func() { a.nudge(a.changed) })
		}
	}
	return nil
}

// candidate says whether this node may have to announce something.
func (a *Announcer) candidate() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.state.Items, func(it Item) bool { return slices.Contains(it.Nodes, a.cfg.Node) })
}

// session announces until the context ends. Then it stops answering first, and says so to
// the other nodes second.
func (a *Announcer) session(ctx context.Context) error {
	heard := make(chan message, 64)
	m, err := listenMembers(ctx, a.cfg.Node, a.cfg.Port, heard)
	if err != nil {
		return err
	}
	r := &run{Announcer: a, members: m, election: newElection(a.cfg.Node), place: newPlace(a.cfg, a.broken)}
	ended := make(chan error, 1)
	go func() { ended <- m.serve() }()
	r.follow()
	err = r.loop(ctx, heard, ended)
	r.place.close()
	a.publish(nil)
	m.leave()
	m.conn.Close() //nolint:errcheck // nothing is read any more
	for {
		select {
		case <-heard: // so that serve, which may be about to deliver, ends
		case e := <-ended:
			return errors.Join(err, e)
		}
	}
}

func (a *Announcer) publish(own []netip.Addr) {
	slices.SortFunc(own, netip.Addr.Compare)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.own = own
}

// run is an Announcer while it runs; only its loop uses it.
type run struct {
	*Announcer
	members  *members
	election *election
	place    *place
	watch    []string
}

func (r *run) loop(ctx context.Context, heard <-chan message, ended chan error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	looked := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			ended <- nil
			return err
		case <-r.changed:
			r.follow()
			looked = time.Now()
		case m := <-heard:
			r.note(m)
		case <-tick.C:
			if time.Since(looked) > look || r.place.damaged(r.broken) {
				r.follow()
				looked = time.Now()
			}
			r.question(heard)
		}
		r.decide()
	}
}

// follow takes over the state that was set, and the devices as they are now.
func (r *run) follow() {
	r.mu.Lock()
	s := r.state
	r.mu.Unlock()
	r.members.set(s.Peers, s.Key)
	r.election.setItems(s.Items)
	r.election.refuses = r.place.follow(r.election.items, s.Addresses)
	r.members.setRefused(slices.SortedFunc(maps.Keys(r.election.refuses), netip.Addr.Compare))
}

// question first hears what has arrived, so that an agent that was stopped for a while
// does not count as missed what it has not read yet, and then asks once more.
func (r *run) question(heard <-chan message) {
	for more := true; more; {
		select {
		case m := <-heard:
			r.note(m)
		default:
			more = false
		}
	}
	r.members.forget(r.watch)
	for _, name := range r.watch {
		r.election.asked(name)
		r.members.ask(name)
	}
}

func (r *run) note(m message) {
	switch m.kind {
	case leave:
		r.election.left(m.from)
	case here:
		r.election.heard(m.from, m.refuses)
	case ask:
		// It may have announced this node's addresses until now, if the network was in
		// pieces: hosts have to hear where they are.
		r.place.again(time.Now())
	}
}

func (r *run) decide() {
	own, watch := r.election.decide()
	r.watch = watch
	held, failed := r.place.hold(own, time.Now())
	r.publish(held)
	if len(failed) > 0 { // until the devices are looked at again
		for _, a := range failed {
			r.election.refuses[a] = true
		}
		r.members.setRefused(slices.SortedFunc(maps.Keys(r.election.refuses), netip.Addr.Compare))
	}
}
