// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/route"
)

// watched is a namespace that is being watched. looks has the verdict of each look.
type watched struct {
	*space
	looks    chan bool
	log      logbook
	onChange atomic.Pointer[func()]
}

func watching(t *testing.T) *watched {
	t.Helper()
	w := &watched{space: newSpace(t), looks: make(chan bool, 1024)}
	must(t, w.RouteAdd(w.route("10.244.2.0/24", route.Protocol)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		one := &watcher{ns: w.NS, log: w.log.logger(), looked: func(changed bool) { w.looks <- changed }, changed: func() {
			if f := w.onChange.Load(); f != nil {
				(*f)()
			}
		}}
		done <- one.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	w.await(true) // the first look
	return w
}

// await waits for the next look and wants this verdict.
func (w *watched) await(changed bool) {
	w.t.Helper()
	select {
	case got := <-w.looks:
		if got != changed {
			w.t.Fatalf("the next look found changed=%v", got)
		}
	case <-time.After(patience):
		w.t.Fatal("the machine was not looked at")
	}
}

func TestEveryChangeThatMattersIsNoticed(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(*watched) // made before the change, and noticed for itself
		change func(*watched) error
	}{
		{name: "another address", change: func(w *watched) error { return w.AddrAdd(w.device("eth0"), w.addr("192.168.100.2/24")) }},
		{name: "an IPv6 address", change: func(w *watched) error { return w.AddrAdd(w.device("eth0"), w.addr("fd64::1/64")) }},
		{name: "an address gone", change: func(w *watched) error { return w.AddrDel(w.device("eth0"), w.addr("192.168.100.1/24")) }},
		{name: "another MTU", change: func(w *watched) error { return w.LinkSetMTU(w.device("eth0"), 1400) }},
		{name: "the uplink down", change: func(w *watched) error { return w.LinkSetDown(w.device("eth0")) }},
		{name: "the uplink's carrier lost", change: func(w *watched) error { return w.LinkSetDown(w.device("far")) }},
		{name: "the uplink back up", before: func(w *watched) { must(w.t, w.LinkSetDown(w.device("eth0"))) },
			change: func(w *watched) error { return w.LinkSetUp(w.device("eth0")) }},
		{name: "the uplink renamed", before: func(w *watched) { must(w.t, w.LinkSetDown(w.device("eth0"))) },
			change: func(w *watched) error { return w.LinkSetName(w.device("eth0"), "ens1") }},
		{name: "another device", change: func(w *watched) error { return w.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}) }},
		{name: "the uplink gone", change: func(w *watched) error { return w.LinkDel(w.device("eth0")) }},
		{name: "a route of ours gone", change: func(w *watched) error { return w.RouteDel(w.route("10.244.2.0/24", route.Protocol)) }},
		{name: "a route of ours replaced by somebody's", change: func(w *watched) error { return w.RouteReplace(w.route("10.244.2.0/24", unix.RTPROT_STATIC)) }},
		{name: "a default route", change: func(w *watched) error { return w.RouteAdd(w.route("", unix.RTPROT_STATIC)) }},
		{name: "a second default route", before: func(w *watched) { must(w.t, w.RouteAdd(w.route("", unix.RTPROT_STATIC))) },
			change: func(w *watched) error {
				r := w.route("", unix.RTPROT_STATIC)
				r.Priority = 7
				return w.RouteAdd(r)
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := watching(t)
			if c.before != nil {
				c.before(w)
				w.await(true)
			}
			start := time.Now()
			must(t, c.change(w))
			w.await(true)
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// The datapath writes rows anew as they are. The kernel notifies of that, and nothing
// must come of it.
func TestWhatIsWrittenAnewAsItWasIsNoChange(t *testing.T) {
	for name, rewrite := range map[string]func(*watched) error{
		"an address": func(w *watched) error { return w.AddrReplace(w.device("eth0"), w.addr("192.168.100.1/24")) },
		"an IPv6 address's lifetime": func(w *watched) error {
			a := w.addr("fd64::1/64")
			a.Flags = unix.IFA_F_NODAD
			if err := w.AddrAdd(w.device("eth0"), a); err != nil {
				return err
			}
			w.await(true)
			a.ValidLft, a.PreferedLft = 3600, 1800
			return w.AddrReplace(w.device("eth0"), a)
		},
		"a route of ours": func(w *watched) error { return w.RouteReplace(w.route("10.244.2.0/24", route.Protocol)) },
		"a device that is taken away again": func(w *watched) error {
			if err := w.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}); err != nil {
				return err
			}
			return w.LinkDel(w.device("br0"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watching(t)
			must(t, rewrite(w))
			// Not every rewriting makes a notification; this one does.
			must(t, w.AddrReplace(w.device("eth0"), w.addr("192.168.100.1/24")))
			w.await(false)
		})
	}
}

// A repair is a change itself. It must bring one more repair, which finds nothing to do,
// and then quiet.
func TestARepairEnds(t *testing.T) {
	w := watching(t)
	var repairs atomic.Int64
	repair := func() {
		repairs.Add(1)
		must(t, w.RouteReplace(w.route("10.244.2.0/24", route.Protocol)))
		must(t, w.AddrReplace(w.device("eth0"), w.addr("192.168.100.1/24")))
	}
	w.onChange.Store(&repair)
	must(t, w.RouteDel(w.route("10.244.2.0/24", route.Protocol)))
	w.await(true)
	w.await(true)  // the look that the repair brought
	w.await(false) // the look that the repair of nothing brought: it wrote what was there
	if n := repairs.Load(); n != 2 {
		t.Errorf("%d repairs of one fault, want one and one that finds nothing to do", n)
	}
	routes, err := w.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: route.Protocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil || len(routes) != 1 {
		t.Errorf("the route was not repaired: %v, %v", routes, err)
	}
	select {
	case <-w.looks:
		t.Error("the machine is looked at although nothing happens")
	case <-time.After(3 * between):
	}
}

// A storm of changes is bundled: a thousand of them within some seconds are few looks.
func TestAStormIsBundled(t *testing.T) {
	w := watching(t)
	start := time.Now()
	for range 1000 {
		must(t, w.AddrAdd(w.device("eth0"), w.addr("192.168.100.2/24")))
		must(t, w.AddrDel(w.device("eth0"), w.addr("192.168.100.2/24")))
	}
	must(t, w.AddrAdd(w.device("eth0"), w.addr("192.168.100.3/24")))
	w.await(true)
	most := int(time.Since(start)/between) + 1
	if n := len(w.looks) + 1; n > most {
		t.Errorf("%d looks in %s", n, time.Since(start))
	}
}

// While the owner is busy the kernel's queue overflows. What was lost must be found.
func TestNothingIsMissedWhenNotificationsBreakOff(t *testing.T) {
	w := watching(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	busy := func() {
		if once.CompareAndSwap(false, true) {
			close(entered)
			<-leave
		}
	}
	w.onChange.Store(&busy)
	must(t, w.LinkSetMTU(w.device("eth0"), 1400))
	<-entered
	for range 3000 {
		must(t, w.AddrAdd(w.device("eth0"), w.addr("192.168.100.2/24")))
		must(t, w.AddrDel(w.device("eth0"), w.addr("192.168.100.2/24")))
	}
	must(t, w.AddrAdd(w.device("eth0"), w.addr("192.168.100.3/24")))
	close(leave)
	w.await(true) // the MTU
	w.await(true) // the address, after subscribing anew
	if !strings.Contains(w.log.String(), "the kernel's notifications broke off") {
		t.Errorf("the queue did not overflow, so nothing was shown; the log has %q", w.log.String())
	}
	must(t, w.AddrDel(w.device("eth0"), w.addr("192.168.100.3/24")))
	w.await(true) // it is subscribed again
}

func TestDeviceMTU(t *testing.T) {
	s := newSpace(t)
	must(t, s.Do(func() error {
		mtu, err := DeviceMTU(netip.MustParseAddr("192.168.100.1"))
		if err == nil && mtu != 1500 {
			t.Errorf("got MTU %d", mtu)
		}
		return err
	}))
	must(t, s.Do(func() error {
		if mtu, err := DeviceMTU(netip.MustParseAddr("192.168.100.9")); err == nil || !strings.Contains(err.Error(), "192.168.100.9 is on no device") {
			t.Errorf("got MTU %d, %v", mtu, err)
		}
		return nil
	}))
}

func TestOnlyOurRoutesAndDefaultRoutesConcernUs(t *testing.T) {
	s := newSpace(t)
	must(t, s.RouteAdd(s.route("10.244.2.0/24", route.Protocol)))
	p, err := look(s.Handle)
	must(t, err)
	other := s.route("", unix.RTPROT_BGP)
	other.Table = 100
	for name, c := range map[string]struct {
		route *netlink.Route
		want  bool
	}{
		"ours":                                {s.route("10.244.3.0/24", route.Protocol), true},
		"somebody's to a destination of ours": {s.route("10.244.2.0/24", unix.RTPROT_BGP), true},
		"a default route":                     {s.route("", unix.RTPROT_BGP), true},
		"somebody's":                          {s.route("198.51.100.0/24", unix.RTPROT_BGP), false},
		"a default route of another table":    {other, false},
	} {
		if got := p.concerns(*c.route); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
