// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"bytes"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/link"
	"github.com/fairlead-io/fairlead/internal/datapath/netns"
	"github.com/fairlead-io/fairlead/internal/datapath/netns/netnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what is waited for on a busy machine.
const patience = 20 * time.Second

// space is a network namespace with an uplink: one end of a veth, whose other end is in
// the same namespace.
type space struct {
	*netns.NS
	*netlink.Handle
	t *testing.T
}

func newSpace(t *testing.T) *space {
	t.Helper()
	ns := netnstest.New(t)
	h, err := link.HandleAt(ns)
	must(t, err)
	t.Cleanup(h.Close)
	s := &space{NS: ns, Handle: h, t: t}
	uplink := netlink.NewVeth(netlink.LinkAttrs{Name: "eth0", MTU: 1500})
	uplink.PeerName = "far"
	must(t, h.LinkAdd(uplink))
	for _, name := range []string{"eth0", "far"} {
		// No address may come by itself: tests look for changes of their own.
		must(t, h.LinkSetIP6AddrGenMode(s.device(name), 1))
	}
	must(t, h.LinkSetUp(s.device("far")))
	must(t, h.LinkSetUp(s.device("eth0")))
	must(t, h.AddrAdd(s.device("eth0"), s.addr("192.168.100.1/24")))
	s.settle()
	return s
}

// settle waits until the kernel has noticed the carrier of both ends, which it does by
// itself within a second: tests look for changes of their own.
func (s *space) settle() {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if s.device("eth0").Attrs().OperState == netlink.OperUp && s.device("far").Attrs().OperState == netlink.OperUp {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatal("eth0 has no carrier")
		}
		runtime.Gosched()
	}
}

func (s *space) device(name string) netlink.Link {
	s.t.Helper()
	l, err := s.LinkByName(name)
	must(s.t, err)
	return l
}

func (s *space) addr(text string) *netlink.Addr {
	s.t.Helper()
	a, err := netlink.ParseAddr(text)
	must(s.t, err)
	return a
}

// route is one over eth0; dst "" is the default route.
func (s *space) route(dst string, protocol int) *netlink.Route {
	s.t.Helper()
	r := &netlink.Route{LinkIndex: s.device("eth0").Attrs().Index, Protocol: netlink.RouteProtocol(protocol), Table: unix.RT_TABLE_MAIN, Scope: netlink.SCOPE_LINK}
	if dst == "" {
		dst = "0.0.0.0/0"
	}
	r.Dst = s.addr(dst).IPNet
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logbook collects a log.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
