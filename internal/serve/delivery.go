// SPDX-License-Identifier: Apache-2.0

package serve

import "sync"

// Delivery is a change on its way to the subscribers that it concerns: those that were
// connected, and subscribed to its type, when it was made. Who comes later is served
// with it from the start and is not waited for.
type Delivery struct {
	told int
	done chan struct{}

	mu            sync.Mutex
	waiting       int
	refused, gone int
}

// Progress is how far a Delivery has come, in subscribers: those that were told of it are
// Acknowledged, Refused, Gone or still Waiting.
type Progress struct {
	// Acknowledged have the change in force. Refused have, or have had since, some resource of the
	// type in quarantine. Gone have disconnected.
	Acknowledged, Refused, Gone, Waiting int
}

// Done is closed when nobody is waited for any more.
func (d *Delivery) Done() <-chan struct{} { return d.done }

// Progress is how far it has come.
func (d *Delivery) Progress() Progress {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Progress{Acknowledged: d.told - d.waiting - d.refused - d.gone, Refused: d.refused, Gone: d.gone, Waiting: d.waiting}
}

type outcome int

const (
	acknowledged outcome = iota
	refusing
	disconnected
)

// arrived notes what has become of the change at one subscriber.
func (d *Delivery) arrived(how outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch how {
	case refusing:
		d.refused++
	case disconnected:
		d.gone++
	}
	if d.waiting--; d.waiting == 0 {
		close(d.done)
	}
}

// expected is a Delivery that one subscriber has not settled yet.
type expected struct {
	revision uint64
	delivery *Delivery
}

// expect has a Delivery wait until the subscriber, if it follows the type, is through with a
// revision; the last one that is named counts.
func (d *dirtySet) expect(typeURL string, revision uint64, to *Delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.expected[typeURL]
	if !d.follows[typeURL] {
		return
	}
	if n := len(list); n > 0 && list[n-1].delivery == to {
		list[n-1].revision = revision
		return
	}
	d.expected[typeURL] = append(list, expected{revision, to})
	to.mu.Lock()
	defer to.mu.Unlock()
	to.told++
	to.waiting++
}

// Follows says whether a subscriber of the node is connected and follows a type.
func (s *Store) Follows(node, typeURL string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for d := range s.subs[node] {
		if d.isFollowing(typeURL) {
			return true
		}
	}
	return false
}

func (d *dirtySet) isFollowing(typeURL string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.follows[typeURL]
}

// follow says that the subscriber has subscribed to a type.
func (d *dirtySet) follow(typeURL string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.follows[typeURL] = true
}

// settle says that the subscriber is through with all that it was told of a type up to a
// revision.
func (d *dirtySet) settle(typeURL string, revision uint64, how outcome) {
	for _, e := range d.through(typeURL, revision) {
		e.delivery.arrived(how)
	}
}

func (d *dirtySet) through(typeURL string, revision uint64) []expected {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.expected[typeURL]
	n := 0
	for n < len(list) && list[n].revision <= revision {
		n++
	}
	if n == len(list) {
		delete(d.expected, typeURL)
	} else {
		d.expected[typeURL] = list[n:]
	}
	return list[:n]
}

// leave says that the subscriber is gone.
func (d *dirtySet) leave() {
	d.mu.Lock()
	types := make([]string, 0, len(d.expected))
	for t := range d.expected {
		types = append(types, t)
	}
	d.follows = map[string]bool{}
	d.mu.Unlock()
	for _, t := range types {
		d.settle(t, ^uint64(0), disconnected)
	}
}
