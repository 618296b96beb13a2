// SPDX-License-Identifier: Apache-2.0

package pathmtu

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/fairlead-io/fairlead/internal/agent/pathmtu"
)

// families has for each family the addresses of the measuring node and of its peer.
var families = map[string]struct{ own, peer netip.Addr }{
	"IPv4": {netip.MustParseAddr("192.168.100.1"), netip.MustParseAddr("192.168.100.2")},
	"IPv6": {netip.MustParseAddr("fd64::1"), netip.MustParseAddr("fd64::2")},
}

// switched is two nodes with uplinks of these MTUs at one bridge. A bridge drops what is
// too large for a port, and tells nobody.
func switched(t *testing.T, ownMTU, peerMTU int) (own, peer, bridge *space) {
	t.Helper()
	own, peer, bridge = newSpace(t), newSpace(t), newSpace(t)
	must(t, bridge.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}))
	bridge.up("br0")
	cable(bridge, "own", ownMTU, own, "eth0", ownMTU)
	cable(bridge, "peer", peerMTU, peer, "eth0", peerMTU)
	for _, port := range []string{"own", "peer"} {
		must(t, bridge.LinkSetMaster(bridge.device(port), bridge.device("br0")))
	}
	own.up("eth0", "192.168.100.1/24", "fd64::1/64")
	peer.up("eth0", "192.168.100.2/24", "fd64::2/64")
	return own, peer, bridge
}

// routed is two nodes with a router between them, that answers "fragmentation needed"
// and "packet too big".
func routed(t *testing.T, ownMTU, peerMTU int) (own, peer *space) {
	t.Helper()
	own, peer = newSpace(t), newSpace(t)
	router := newSpace(t)
	router.sysctl("net/ipv4/ip_forward", "1")
	router.sysctl("net/ipv6/conf/all/forwarding", "1")
	cable(router, "own", ownMTU, own, "eth0", ownMTU)
	cable(router, "peer", peerMTU, peer, "eth0", peerMTU)
	router.up("own", "192.168.100.10/30", "fd64::a/126")
	router.up("peer", "192.168.100.13/30", "fd64::d/126")
	own.up("eth0", "192.168.100.9/30", "fd64::9/126")
	peer.up("eth0", "192.168.100.14/30", "fd64::e/126")
	own.via("eth0", "192.168.100.10", "fd64::a")
	peer.via("eth0", "192.168.100.13", "fd64::d")
	return own, peer
}

// measuring runs a prober in a namespace, and waits for what it finds.
type measuring struct {
	*pathmtu.Prober
	t       *testing.T
	changed chan struct{}
}

func measure(t *testing.T, from *space) *measuring {
	t.Helper()
	m := &measuring{t: t, changed: make(chan struct{}, 1)}
	m.Prober = pathmtu.New(pathmtu.Config{Network: from.sockets(), Log: slog.New(slog.NewTextHandler(logs{t}, nil)), Changed: func() {
		select {
		case m.changed <- struct{}{}:
		default:
		}
	}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
	return m
}

// await waits until exactly these paths are known.
func (m *measuring) await(want ...pathmtu.Path) {
	m.t.Helper()
	deadline := time.After(patience)
	for {
		got := m.Paths()
		same := len(got) == len(want)
		for i := 0; same && i < len(got); i++ {
			same = got[i] == want[i]
		}
		if same {
			return
		}
		select {
		case <-m.changed:
		case <-deadline:
			m.t.Fatalf("known: %+v, want %+v", got, want)
		}
	}
}

func TestALargeNodeAndASmallOneAtASwitch(t *testing.T) {
	for family, at := range families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			own, peer, _ := switched(t, 9000, 1500)
			m := measure(t, own)
			m.SetPeers([]pathmtu.Peer{{Name: "b", Addresses: []netip.Addr{at.peer}}})
			m.await(pathmtu.Path{Peer: "b", MTU: 1500, Reduced: true})
			if got := m.MTU("b"); got != 1500 {
				t.Errorf("the datapath is told %d", got)
			}
			back := measure(t, peer)
			back.SetPeers([]pathmtu.Peer{{Name: "a", Addresses: []netip.Addr{at.own}}})
			back.await(pathmtu.Path{Peer: "a", MTU: 1500})
			if got := back.MTU("a"); got != 0 {
				t.Errorf("all that the small node sends arrives, and the datapath is told %d", got)
			}
		})
	}
}

func TestARouterWithANarrowerLink(t *testing.T) {
	for family, addr := range map[string]string{"IPv4": "192.168.100.14", "IPv6": "fd64::e"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			own, _ := routed(t, 9000, 1420)
			m := measure(t, own)
			m.SetPeers([]pathmtu.Peer{{Name: "b", Addresses: []netip.Addr{netip.MustParseAddr(addr)}}})
			// No size of the usual ones: the router named it.
			m.await(pathmtu.Path{Peer: "b", MTU: 1420, Reduced: true})
		})
	}
}

// One packet in each of its fates. A size that the uplink itself cannot send is known
// without sending.
func TestWhatBecomesOfAPacket(t *testing.T) {
	own, _, _ := switched(t, 9000, 1500)
	far, _ := routed(t, 9000, 1420)
	for _, c := range []struct {
		name string
		from *space
		to   string
		size int
		want pathmtu.Answer
	}{
		{"it arrives", own, "192.168.100.2", 1500, pathmtu.Answer{Verdict: pathmtu.Arrived}},
		{"it arrives (IPv6)", own, "fd64::2", 1500, pathmtu.Answer{Verdict: pathmtu.Arrived}},
		{"a switch drops it", own, "192.168.100.2", 1501, pathmtu.Answer{}},
		{"a switch drops it (IPv6)", own, "fd64::2", 1501, pathmtu.Answer{}},
		{"a router refuses it", far, "192.168.100.14", 1421, pathmtu.Answer{Verdict: pathmtu.TooLarge, Fits: 1420}},
		{"a router refuses it (IPv6)", far, "fd64::e", 1421, pathmtu.Answer{Verdict: pathmtu.TooLarge, Fits: 1420}},
		{"what the router passes on arrives", far, "192.168.100.14", 1420, pathmtu.Answer{Verdict: pathmtu.Arrived}},
		{"what the router passes on arrives (IPv6)", far, "fd64::e", 1420, pathmtu.Answer{Verdict: pathmtu.Arrived}},
		{"nobody has the address", own, "192.168.100.77", 1280, pathmtu.Answer{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.from.sockets().Probe(t.Context(), netip.MustParseAddr(c.to), c.size)
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
	t.Run("the uplink cannot send it", func(t *testing.T) {
		for _, to := range []string{"192.168.100.2", "fd64::2"} {
			if got, err := own.sockets().Probe(t.Context(), netip.MustParseAddr(to), 9001); err != nil || got.Verdict != pathmtu.TooLarge {
				t.Errorf("%s: got %+v, %v", to, got, err)
			}
		}
	})
	t.Run("there is no way", func(t *testing.T) {
		if got, err := own.sockets().Probe(t.Context(), netip.MustParseAddr("198.51.100.1"), 1280); err == nil {
			t.Errorf("got %+v without a route", got)
		}
	})
}

func TestAPeerThatAnswersNothingIsUnknownAndHarmsNoOther(t *testing.T) {
	own, peer, bridge := switched(t, 9000, 9000)
	mute := newSpace(t)
	cable(bridge, "mute", 9000, mute, "eth0", 9000)
	must(t, bridge.LinkSetMaster(bridge.device("mute"), bridge.device("br0")))
	mute.up("eth0", "192.168.100.3/24")
	// A program that takes the packets and says nothing, as a filter does.
	must(t, mute.Do(func() error {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: pathmtu.Port})
		if err == nil {
			t.Cleanup(func() { c.Close() }) //nolint:errcheck // the test is over
		}
		return err
	}))
	_ = peer
	m := measure(t, own)
	m.SetPeers([]pathmtu.Peer{
		{Name: "b", Addresses: []netip.Addr{families["IPv4"].peer, families["IPv6"].peer}},
		{Name: "mute", Addresses: []netip.Addr{netip.MustParseAddr("192.168.100.3")}},
		{Name: "nobody", Addresses: []netip.Addr{netip.MustParseAddr("192.168.100.4"), netip.MustParseAddr("198.51.100.1")}},
	})
	m.await(pathmtu.Path{Peer: "b", MTU: 9000}, pathmtu.Path{Peer: "mute"}, pathmtu.Path{Peer: "nobody"})
	for _, p := range []string{"b", "mute", "nobody", "a stranger"} {
		if got := m.MTU(p); got != 0 {
			t.Errorf("%s: the datapath is told %d", p, got)
		}
	}
}

func TestPathsThatChange(t *testing.T) {
	own, peer, bridge := switched(t, 9000, 1500)
	m := measure(t, own)
	at := families["IPv4"]
	m.SetPeers([]pathmtu.Peer{{Name: "b", Addresses: []netip.Addr{at.peer}}})
	m.await(pathmtu.Path{Peer: "b", MTU: 1500, Reduced: true})

	// The uplink becomes as small as the path: nothing is lost any more.
	must(t, own.LinkSetMTU(own.device("eth0"), 1500))
	m.Recheck()
	m.await(pathmtu.Path{Peer: "b", MTU: 1500})

	// Both become large.
	must(t, bridge.LinkSetMTU(bridge.device("peer"), 9000))
	must(t, peer.LinkSetMTU(peer.device("eth0"), 9000))
	must(t, own.LinkSetMTU(own.device("eth0"), 9000))
	m.Recheck()
	m.await(pathmtu.Path{Peer: "b", MTU: 9000})

	// The peer moves to another address, which nobody has yet.
	m.SetPeers([]pathmtu.Peer{{Name: "b", Addresses: []netip.Addr{netip.MustParseAddr("192.168.100.5")}}})
	m.await(pathmtu.Path{Peer: "b"})
	m.SetPeers(nil)
	m.await()
}
