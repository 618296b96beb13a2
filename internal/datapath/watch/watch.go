// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"

	"github.com/fairlead-io/fairlead/internal/datapath/link"
	"github.com/fairlead-io/fairlead/internal/datapath/netns"
)

const (
	// settle is how long after a notification the machine is looked at: changes come in
	// bursts.
	settle = 100 * time.Millisecond
	// between is the least time between two looks.
	between = time.Second
	// queue is how many notifications of a kind may wait while the machine is looked at.
	queue = 256
)

// errLost says that the kernel had more notifications than were taken; some are gone.
var errLost = errors.New("the kernel's notifications broke off")

// Run calls changed once at the start, and then each time that the network of a
// namespace is another than before, at most once a second and within 1.1 seconds of the
// change. It returns when the context ends, and before that only with an error of
// opening the namespace. changed is never called twice at a time; the time it takes is
// time in which nothing is looked at.
func Run(ctx context.Context, ns *netns.NS, log *slog.Logger, changed func()) error {
	w := &watcher{ns: ns, log: log, changed: changed, looked: func(bool) {}}
	return w.run(ctx)
}

type watcher struct {
	ns      *netns.NS
	log     *slog.Logger
	changed func()
	looked  func(changed bool) // tests follow it
	handle  *netlink.Handle
	before  picture
}

func (w *watcher) run(ctx context.Context) (err error) {
	if w.handle, err = link.HandleAt(w.ns); err != nil {
		return err
	}
	defer w.handle.Close()
	for {
		err := w.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		w.log.Warn("changes of the machine's network may be noticed late; subscribing to them again", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(between):
		}
	}
}

// follow subscribes, looks, and looks again at notifications until they break off.
func (w *watcher) follow(ctx context.Context) error {
	s, err := w.subscribe()
	if err != nil {
		return err
	}
	defer s.end()
	var timer <-chan time.Time
	last := time.Now()
	arm := func() {
		if timer == nil {
			timer = time.After(max(settle, between-time.Since(last)))
		}
	}
	look := func() {
		timer, last = nil, time.Now()
		if err := w.look(); err != nil {
			w.log.Debug("the machine's network could not be read", "error", err)
			arm()
		}
	}
	for look(); ; {
		open := true
		select {
		case <-ctx.Done():
			return nil
		case _, open = <-s.links:
			arm()
		case _, open = <-s.addresses:
			arm()
		case u, more := <-s.routes:
			if open = more; w.before.concerns(u.Route) {
				arm()
			}
		case <-timer:
			look()
		}
		if !open {
			return errLost
		}
	}
}

// look compares the machine with the last time.
func (w *watcher) look() error {
	now, err := look(w.handle)
	if err != nil {
		return err
	}
	same := now.equal(w.before)
	w.before = now
	if !same {
		w.changed()
	}
	w.looked(!same)
	return nil
}

// subscription is a stream of notifications of each kind.
type subscription struct {
	done      chan struct{}
	links     chan netlink.LinkUpdate
	addresses chan netlink.AddrUpdate
	routes    chan netlink.RouteUpdate
}

func (w *watcher) subscribe() (*subscription, error) {
	s := &subscription{
		done:  make(chan struct{}),
		links: make(chan netlink.LinkUpdate, queue), addresses: make(chan netlink.AddrUpdate, queue), routes: make(chan netlink.RouteUpdate, queue),
	}
	at := vnetns.NsHandle(w.ns.FD())
	failed := func(err error) { w.log.Debug("a notification of the kernel's could not be read", "error", err) }
	if err := netlink.LinkSubscribeWithOptions(s.links, s.done, netlink.LinkSubscribeOptions{Namespace: &at, ErrorCallback: failed}); err != nil {
		close(s.links)
		close(s.addresses)
		close(s.routes)
		s.end()
		return nil, fmt.Errorf("notifications of devices: %w", err)
	}
	if err := netlink.AddrSubscribeWithOptions(s.addresses, s.done, netlink.AddrSubscribeOptions{Namespace: &at, ErrorCallback: failed}); err != nil {
		close(s.addresses)
		close(s.routes)
		s.end()
		return nil, fmt.Errorf("notifications of addresses: %w", err)
	}
	if err := netlink.RouteSubscribeWithOptions(s.routes, s.done, netlink.RouteSubscribeOptions{Namespace: &at, ErrorCallback: failed}); err != nil {
		close(s.routes)
		s.end()
		return nil, fmt.Errorf("notifications of routes: %w", err)
	}
	return s, nil
}

// end ends the subscription and takes what is on its way, on which its senders would
// otherwise wait for ever.
func (s *subscription) end() {
	close(s.done)
	for range s.links {
	}
	for range s.addresses {
	}
	for range s.routes {
	}
}
