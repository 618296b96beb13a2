// SPDX-License-Identifier: Apache-2.0

package policydiff

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

const patience = 10 * time.Second

// town is a world in which everybody listens.
type town struct {
	*runner
	*office
	senders map[netip.Addr]*net.UDPConn // of this round
	late    map[letter]bool             // of all rounds: those that may never arrive
	about   map[letter]flow
	first   map[string]*corev1.Pod // as they were made, by UID
}

func newTown(t *testing.T, services bool, salt uint64) *town {
	t.Helper()
	r := newGame(t, services, salt)
	w := &town{runner: r, office: newOffice(t), senders: map[netip.Addr]*net.UDPConn{}, late: map[letter]bool{}, about: map[letter]flow{}}
	for _, port := range usedPorts {
		for _, s := range append(w.pods[:], w.node) {
			w.open(t, s, netip.AddrPortFrom(netip.Addr{}, port))
		}
		for _, a := range farAddresses() {
			w.open(t, w.rest, netip.AddrPortFrom(a, port))
		}
	}
	return w
}

// farAddresses are all of those who are not on the node.
func farAddresses() (out []netip.Addr) {
	out = append(out, outsiders...)
	for n := 2; n <= nodes; n++ {
		out = append(out, addressesOf(n)...)
		for slot := range slotsThere {
			out = append(out, addressesAt(n, slot)...)
		}
	}
	return out
}

// spaceOf is where an address is.
func (w *town) spaceOf(a netip.Addr) space {
	if slot, ok := w.slotOf(a); ok {
		return w.pods[slot]
	}
	if w.isHost(a) {
		return w.node
	}
	return w.rest
}

// isHost says whether an address is the node's own.
func (w *town) isHost(a netip.Addr) bool {
	return a == addressesOf(1)[family(a)] || a == gateways[family(a)]
}

// sender is this round's socket of somebody.
func (w *town) sender(a netip.Addr) *net.UDPConn {
	if w.senders[a] == nil {
		w.senders[a] = w.open(w.t, w.spaceOf(a), netip.AddrPortFrom(a, 0))
	}
	return w.senders[a]
}

// visit is a connection by UDP between two who are there, at least one of them a pod of this
// node.
func (w *town) visit() flow {
	for {
		f := w.flow()
		switch f.hook {
		case routed, deferred, leaving:
			continue
		}
		if _, here := w.slotOf(f.Dest); f.hook == fromPod && !here && podCIDRs(1)[family(f.Dest)].Contains(f.Dest) && f.Dest != gateways[family(f.Dest)] {
			continue // a place that is free
		}
		f.Protocol, f.Port = unix.IPPROTO_UDP, pick(w.dice, usedPorts...)
		return f
	}
}

// allowed is what the model says of real packets.
func (w *town) allowed(f flow) bool { return f.hook == toPod || w.May(own, f.Connection) }

// TestRealPacketsAgreeWithTheModel: after each change, those datagrams and connections arrive
// that the objects allow.
func TestRealPacketsAgreeWithTheModel(t *testing.T) {
	for salt, services := range []bool{false, true} {
		t.Run(fmt.Sprintf("services %v", services), func(t *testing.T) {
			w := newTown(t, services, 10+uint64(salt))
			total := int(number(t, casesOf, defaultCases)) / 10
			var y tally
			for round := 0; y.cases < total; round++ {
				w.step()
				if len(w.live()) == 0 {
					continue
				}
				w.mail(200, &y)
				if round%10 == 0 {
					w.dial(20, &y)
				}
			}
			t.Log(y)
			y.balanced(t)
		})
	}
}

// mail sends so many letters, each of a connection of its own or of one of this round.
func (w *town) mail(n int, y *tally) {
	w.t.Helper()
	want := map[letter]bool{}
	for range n {
		f := w.visit()
		l := w.next(note)
		want[l], w.about[l] = w.allowed(f), f
		y.count("datagrams", want[l])
		if err := post(w.sender(f.Source), netip.AddrPortFrom(f.Dest, f.Port), l); err != nil && want[l] {
			w.t.Fatalf("%v\n%s", err, w.story(f))
		}
	}
	w.settle(want)
	for a, c := range w.senders {
		c.Close()
		delete(w.senders, a)
	}
}

// settle waits for letters, and for the lack of those of this and former rounds.
func (w *town) settle(want map[letter]bool) {
	w.t.Helper()
	if l, err := w.await(want, patience); err != nil {
		w.t.Fatalf("letter %+v: %v\n%s", l, err, w.story(w.about[l]))
	}
	for l := range w.late {
		if _, ok := w.has(l); ok {
			w.t.Fatalf("letter %+v of an earlier round has arrived after all: %s", l, w.about[l])
		}
	}
	clear(w.late)
	for l, ok := range want {
		if !ok {
			w.late[l] = true
		}
	}
}

// dial opens so many connections by TCP at once.
func (w *town) dial(n int, y *tally) {
	w.t.Helper()
	var listeners []net.Listener
	for _, s := range append(w.pods[:], w.node, w.rest) {
		for _, port := range usedPorts {
			must(w.t, s.Do(func() error {
				l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
				listeners = append(listeners, l)
				return err
			}))
		}
	}
	var running sync.WaitGroup
	for range n {
		f := w.visit()
		f.Protocol = unix.IPPROTO_TCP
		want, from := w.allowed(f), w.spaceOf(f.Source)
		y.count("connections", want)
		running.Go(func() {
			if err := reach(from, f, want); (err == nil) != want {
				w.t.Errorf("by TCP: %v\n%s", err, w.story(f))
			}
		})
	}
	running.Wait()
	for _, l := range listeners {
		l.Close()
	}
}

// reach opens a connection; what should not be is not waited for as long.
func reach(from space, f flow, want bool) error {
	wait := patience
	if !want {
		wait = 300 * time.Millisecond
	}
	return from.Do(func() error {
		d := net.Dialer{Timeout: wait, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.Source, 0))}
		c, err := d.DialContext(context.Background(), "tcp", netip.AddrPortFrom(f.Dest, f.Port).String())
		if err != nil {
			return err
		}
		return c.Close()
	})
}
