// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	stdsync "sync"
	"time"

	"google.golang.org/grpc"

	"github.com/fairlead-io/fairlead/internal/state"
)

// PodAddresses are what a pod of this node has just got.
type PodAddresses struct {
	Namespace, Name, UID string
	Addresses            []netip.Addr
}

// Registration is what controllers have answered.
type Registration struct {
	// Asked controllers, and those that know the pod's addresses now.
	Asked, Known int
	// Waiting are agents that have not acknowledged them yet.
	Waiting int
}

// Register tells all controllers that are known a pod's addresses, and waits until every
// agent that they matter to has them in force, or the context ends. Its error names the
// controllers that do not know them now; they hear of them from the API server, later.
func (c *Client) Register(ctx context.Context, pod PodAddresses) (Registration, error) {
	addresses, _ := c.book.get()
	if len(addresses) == 0 {
		return Registration{}, errors.New("no controller address is known yet")
	}
	req := &state.RegisterRequest{Namespace: pod.Namespace, Name: pod.Name, Uid: pod.UID}
	if deadline, ok := ctx.Deadline(); ok {
		req.WaitMilliseconds = waitFor(time.Until(deadline))
	}
	for _, a := range pod.Addresses {
		req.Addresses = append(req.Addresses, a.AsSlice())
	}
	c.lines.prune(addresses)
	answers := make([]*state.RegisterResponse, len(addresses))
	errs := make([]error, len(addresses))
	var calls stdsync.WaitGroup
	for i, address := range addresses {
		calls.Go(func() {
			if answers[i], errs[i] = c.registerAt(ctx, address, req); errs[i] != nil {
				errs[i] = fmt.Errorf("controller %s: %w", address, errs[i])
			}
		})
	}
	calls.Wait()
	r := Registration{Asked: len(addresses)}
	for i, a := range answers {
		if errs[i] == nil {
			r.Known++
			r.Waiting += int(a.GetWaiting())
		}
	}
	return r, errors.Join(errs...)
}

// maxWait is the longest that a controller is asked to wait, in milliseconds.
const maxWait = 10_000

// waitFor is how long a controller may wait for agents: its answer must arrive as well.
func waitFor(d time.Duration) uint32 {
	return uint32(min(max(d-d/8, 0).Milliseconds(), maxWait))
}

func (c *Client) registerAt(ctx context.Context, address string, req *state.RegisterRequest) (*state.RegisterResponse, error) {
	conn, err := c.lines.get(address)
	if err != nil {
		return nil, err
	}
	return state.NewPodAddressesClient(conn).Register(ctx, req)
}

// lines are connections to controllers beside the stream's. They are made for the first
// call and kept, so that no ADD waits for a handshake again; one that nobody uses for a
// while is closed.
type lines struct {
	client *Client

	mu     stdsync.Mutex
	open   map[string]*line // by address
	stream *line            // that of the stream; nil: there is none
}

type line struct {
	address string
	conn    *grpc.ClientConn
	link    *link
	cert    *tls.Certificate
}

// lineIdle is how long a connection that nobody uses is kept.
const lineIdle = 10 * time.Minute

// lend lets calls go over the stream's connection, until the function that is returned.
func (l *lines) lend(address string, conn *grpc.ClientConn, link *link) (end func()) {
	own := &line{address: address, conn: conn, link: link}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stream = own
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.stream == own {
			l.stream = nil
		}
	}
}

// get returns a connection to a controller that is trusted now.
func (l *lines) get(address string) (*grpc.ClientConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stream != nil && l.stream.address == address {
		return l.stream.conn, nil // it is watched
	}
	cert := l.client.identity.usable()
	if cert == nil {
		return nil, errors.New("this agent has no certificate yet")
	}
	if o := l.open[address]; o != nil {
		if o.cert == cert && o.link.check() == nil {
			return o.conn, nil
		}
		l.close(address)
	}
	creds, link, err := l.client.identity.credentials()
	if err != nil {
		return nil, err
	}
	conn, err := dial(l.client.cfg, address, creds, grpc.WithIdleTimeout(lineIdle))
	if err != nil {
		return nil, err
	}
	l.open[address] = &line{address: address, conn: conn, link: link, cert: cert}
	return conn, nil
}

// prune closes connections to controllers that are no more.
func (l *lines) prune(addresses []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for address := range l.open {
		if !slices.Contains(addresses, address) {
			l.close(address)
		}
	}
}

// closeAll ends all of them, but for the stream's.
func (l *lines) closeAll() { l.prune(nil) }

func (l *lines) close(address string) {
	_ = l.open[address].conn.Close() // nothing is on its way that anybody waits for
	delete(l.open, address)
}
