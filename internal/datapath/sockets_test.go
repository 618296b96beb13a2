// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	bpflink "github.com/cilium/ebpf/link"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// clusterIP is a Service of both protocols with one pool.
func clusterIP(name string, at netip.AddrPort, backends ...netip.AddrPort) datapath.Service {
	return service(name, datapath.Frontend{Address: at.Addr(), Port: at.Port()}, backends...)
}

// service gives a frontend to both protocols, and all backends to it.
func service(name string, f datapath.Frontend, backends ...netip.AddrPort) datapath.Service {
	s := datapath.Service{Name: name, Pools: []datapath.Pool{{}}}
	for _, b := range backends {
		s.Pools[0].Backends = append(s.Pools[0].Backends, datapath.Backend{Address: b.Addr(), Port: b.Port()})
	}
	for _, p := range []datapath.Protocol{datapath.TCP, datapath.UDP} {
		f.Protocol = p
		s.Frontends = append(s.Frontends, f)
	}
	return s
}

func (n *node) setServices(t *testing.T, all ...datapath.Service) {
	t.Helper()
	must(t, n.dp.UpdateServices(context.Background(), datapath.ServiceUpdate{Set: all, Complete: true}))
}

// sockets are the ways in which processes use them.
var socketWays = []string{"tcp", "connected", "datagram"}

// expect checks who answers, and that the process sees the address that it asked for.
func expect(t *testing.T, c *socketClient, to netip.AddrPort, mapped bool, who string) {
	t.Helper()
	for _, way := range socketWays {
		r := c.do(socketCommand{Do: way, To: to, Mapped: mapped})
		if r.Answer != who || r.Peer != to {
			t.Errorf("%s to %s (mapped %t): answer %q, peer %s, error %q; want %q of %[2]s", way, to, mapped, r.Answer, r.Peer, r.Err, who)
		}
	}
}

// expectErrno checks that a use fails at once.
func expectErrno(t *testing.T, c *socketClient, to netip.AddrPort, want syscall.Errno) {
	t.Helper()
	for _, way := range socketWays {
		began := time.Now()
		r := c.do(socketCommand{Do: way, To: to})
		if r.Errno != want || time.Since(began) > time.Second {
			t.Errorf("%s to %s: answer %q, error %q after %s; want %q at once", way, to, r.Answer, r.Err, time.Since(began), want)
		}
	}
}

// TestSockets connects pods' and the host's sockets to Services of every kind.
func TestSockets(t *testing.T) {
	w := newShapedWorld(t, 2, shape{services: true})
	one, two := w.nodes[0], w.nodes[1]
	a, far := one.addPod(), two.addPod()
	inPod, onHost := one.socketClient(t, a.space), one.socketClient(t, one.space)
	var all []datapath.Service
	for i, f := range families {
		own, other := netip.AddrPortFrom(a.ip(f), 7200), netip.AddrPortFrom(far.ip(f), 7200)
		answerAs(t, a.space, own, "own")
		answerAs(t, far.space, other, "far")
		answerAs(t, a.space, netip.AddrPortFrom(loopback(f), 30001), "pod's loopback")
		all = append(all,
			clusterIP("default/far"+f, netip.AddrPortFrom(serviceIP(f, 1), 80), other),
			clusterIP("default/own"+f, netip.AddrPortFrom(serviceIP(f, 2), 80), own),
			clusterIP("default/none"+f, netip.AddrPortFrom(serviceIP(f, 3), 80)),
			service("default/port"+f, datapath.Frontend{Address: unspecified(f), Port: 30001, Kind: datapath.FrontendNodePort}, other),
			service("default/lb"+f, datapath.Frontend{Address: outsideIP(families[i]).Next(), Port: 443, Kind: datapath.FrontendExternal}, other),
		)
	}
	one.setServices(t, all...)
	for _, f := range families {
		t.Run(f, func(t *testing.T) {
			for _, mapped := range []bool{false, true} {
				if mapped && f == "IPv6" {
					continue
				}
				for _, c := range []*socketClient{inPod, onHost} {
					expect(t, c, netip.AddrPortFrom(serviceIP(f, 1), 80), mapped, "far")
					expect(t, c, netip.AddrPortFrom(serviceIP(f, 2), 80), mapped, "own")
					expect(t, c, netip.AddrPortFrom(one.uplinkIP(f), 30001), mapped, "far")
					expect(t, c, netip.AddrPortFrom(outsideIP(f).Next(), 443), mapped, "far")
					// No Service: the address is let alone.
					expect(t, c, netip.AddrPortFrom(far.ip(f), 7200), mapped, "far")
				}
				expect(t, onHost, netip.AddrPortFrom(loopback(f), 30001), mapped, "far")
				expect(t, inPod, netip.AddrPortFrom(loopback(f), 30001), mapped, "pod's loopback")
			}
			for _, c := range []*socketClient{inPod, onHost} {
				expectErrno(t, c, netip.AddrPortFrom(serviceIP(f, 3), 80), syscall.ECONNREFUSED)
			}
		})
	}
}

func loopback(family string) netip.Addr {
	if family == "IPv4" {
		return addr("127.0.0.1")
	}
	return netip.IPv6Loopback()
}

// TestSocketsAreSpreadOrStay: connections are spread over all backends; with affinity those of a
// pod stay with one as long as it is there.
func TestSocketsAreSpreadOrStay(t *testing.T) {
	w := newShapedWorld(t, 1, shape{services: true})
	one := w.nodes[0]
	client := one.socketClient(t, one.addPod().space)
	var backends []netip.AddrPort
	for _, name := range []string{"first", "second", "third"} {
		p := one.addPod()
		backends = append(backends, netip.AddrPortFrom(p.ip("IPv4"), 7200))
		answerAs(t, p.space, backends[len(backends)-1], name)
	}
	at := netip.AddrPortFrom(serviceIP("IPv4", 1), 80)
	one.setServices(t, clusterIP("default/spread", at, backends...))
	counts := client.do(socketCommand{Do: "connects", To: at, Times: 300}).Counts
	for _, name := range []string{"first", "second", "third"} {
		if counts[name] < 50 {
			t.Errorf("of 300 connections %s got %d: %v", name, counts[name], counts)
		}
	}
	sticky := service("default/spread", datapath.Frontend{Address: at.Addr(), Port: at.Port(), Affinity: time.Hour}, backends...)
	one.setServices(t, sticky)
	counts = client.do(socketCommand{Do: "connects", To: at, Times: 50}).Counts
	if len(counts) != 1 {
		t.Fatalf("with affinity one pod came to %v", counts)
	}
	gone := map[string]int{"first": 0, "second": 1, "third": 2}[only(counts)]
	one.setServices(t, service("default/spread", sticky.Frontends[0], append(backends[:gone:gone], backends[gone+1:]...)...))
	after := client.do(socketCommand{Do: "connects", To: at, Times: 50}).Counts
	if len(after) != 1 || only(after) == only(counts) {
		t.Errorf("%v was removed, the pod came to %v", counts, after)
	}
}

func only(counts map[string]int) string {
	for name := range counts {
		return name
	}
	return ""
}

// TestSocketsWhileServicesChange: no connection fails while backends come and go, and none
// when the agent is started again.
func TestSocketsWhileServicesChange(t *testing.T) {
	w := newShapedWorld(t, 1, shape{services: true})
	one := w.nodes[0]
	client := one.socketClient(t, one.addPod().space)
	var backends []netip.AddrPort
	for _, name := range []string{"first", "second", "third"} {
		p := one.addPod()
		backends = append(backends, netip.AddrPortFrom(p.ip("IPv4"), 7200))
		answerAs(t, p.space, backends[len(backends)-1], name)
	}
	at := netip.AddrPortFrom(serviceIP("IPv4", 1), 80)
	set := func(n int) { one.setServices(t, clusterIP("default/changing", at, backends[:n]...)) }
	set(3)
	const atOnce = 500
	changed, done := make(chan struct{}), make(chan map[string]int)
	go func() {
		counts := map[string]int{}
		for more := true; more; {
			select {
			case <-changed:
				more = false
			default:
			}
			for who, n := range client.do(socketCommand{Do: "connects", To: at, Times: atOnce}).Counts {
				counts[who] += n
			}
		}
		done <- counts
	}()
	for i := range 1000 {
		set(1 + i%3)
		if i == 500 {
			must(t, one.dp.Close())
			one.open()
		}
	}
	close(changed)
	counts := <-done
	for who, n := range counts {
		if who != "first" && who != "second" && who != "third" {
			t.Errorf("%d connections failed: %s", n, who)
		}
	}
	t.Logf("connections during 1,000 changes: %v", counts)
}

// TestSocketsOfGoneBackendsEnd: whoever is connected to a backend that goes is told at once, over
// TCP and UDP, and others are not.
func TestSocketsOfGoneBackendsEnd(t *testing.T) {
	w := newShapedWorld(t, 1, shape{services: true})
	one := w.nodes[0]
	a, server := one.addPod(), one.addPod()
	for _, f := range families {
		goes, stays := netip.AddrPortFrom(server.ip(f), 7200), netip.AddrPortFrom(server.ip(f), 7201)
		answerAs(t, server.space, goes, "goes")
		answerAs(t, server.space, stays, "stays")
		first, second := netip.AddrPortFrom(serviceIP(f, 1), 80), netip.AddrPortFrom(serviceIP(f, 2), 80)
		one.setServices(t, clusterIP("default/goes", first, goes), clusterIP("default/stays", second, stays))
		for name, in := range map[string]space{"pod": a.space, "host": one.space} {
			for _, way := range []string{"hold", "hold-udp"} {
				ended, other, direct := one.socketClient(t, in), one.socketClient(t, in), one.socketClient(t, in)
				for c, to := range map[*socketClient]netip.AddrPort{ended: first, other: second, direct: goes} {
					if r := c.do(socketCommand{Do: way, To: to}); r.Err != "" {
						t.Fatalf("%s: %s to %s: %s", name, way, to, r.Err)
					}
				}
				protocol := map[string]datapath.Protocol{"hold": datapath.TCP, "hold-udp": datapath.UDP}[way]
				must(t, one.dp.UpdateServices(context.Background(), datapath.ServiceUpdate{
					Gone: []datapath.Gone{{Address: goes.Addr(), Port: goes.Port(), Protocol: protocol}},
				}))
				if r := ended.do(socketCommand{Do: "wait"}); r.Errno != syscall.ECONNABORTED {
					t.Errorf("%s %s %s: the socket of the backend that went: %q, want %q", f, name, way, r.Err, syscall.ECONNABORTED)
				}
				for what, c := range map[string]*socketClient{"of another backend": other, "that asked for no Service": direct} {
					if r := c.do(socketCommand{Do: "held"}); r.Err != "" {
						t.Errorf("%s %s %s: the socket %s: %s", f, name, way, what, r.Err)
					}
				}
			}
		}
	}
}

// TestSocketProgramsAttached: a restarted agent exchanges the programs in the links that are
// there; an agent without Services, and Cleanup, leave none.
func TestSocketProgramsAttached(t *testing.T) {
	w := newShapedWorld(t, 1, shape{services: true})
	one := w.nodes[0]
	first := one.socketLinks(t)
	if len(first) != len(bpf.SocketPrograms()) {
		t.Fatalf("attached: %v", first)
	}
	reopen := func() {
		must(t, one.dp.Close())
		one.open()
		must(t, one.dp.SyncPeers(context.Background(), nil))
	}
	reopen()
	for name, l := range one.socketLinks(t) {
		if l.ID != first[name].ID || l.Program == first[name].Program {
			t.Errorf("%s: link %d with program %d was followed by link %d with program %d", name, first[name].ID, first[name].Program, l.ID, l.Program)
		}
	}
	former := one.opts.CgroupRoot
	one.opts.CgroupRoot = newCgroup(t)
	reopen()
	for name, l := range one.socketLinks(t) {
		if l.Cgroup().CgroupId == first[name].Cgroup().CgroupId {
			t.Errorf("%s is still attached to %s", name, former)
		}
	}
	one.opts.Services = false
	reopen()
	if left := one.socketLinks(t); len(left) > 0 {
		t.Errorf("without Services there are %v", left)
	}
	if err := one.dp.UpdateServices(context.Background(), datapath.ServiceUpdate{Complete: true}); err == nil {
		t.Error("an agent without Services takes them")
	}
	one.opts.Services = true
	reopen()
	backend, at := netip.AddrPortFrom(one.routerIP("IPv4"), 7200), netip.AddrPortFrom(serviceIP("IPv4", 1), 80)
	answerAs(t, one.space, backend, "here")
	one.setServices(t, clusterIP("default/again", at, backend))
	if len(one.socketLinks(t)) != len(first) {
		t.Errorf("with Services again there are %v", one.socketLinks(t))
	}
	expect(t, one.socketClient(t, one.space), at, false, "here")

	attached := one.attachedToSockets(t)
	if attached < len(first) {
		t.Errorf("%d programs are attached to the cgroup, want %d", attached, len(first))
	}
	must(t, one.dp.Close())
	must(t, one.Do(func() error { return datapath.Cleanup(context.Background(), one.opts) }))
	if left := one.attachedToSockets(t); left > 0 {
		t.Errorf("after Cleanup %d programs are attached to the cgroup", left)
	}
}

// attachedToSockets counts what the kernel has at the node's cgroup, pinned or not.
func (n *node) attachedToSockets(t *testing.T) (programs int) {
	t.Helper()
	cgroup, err := os.Open(n.opts.CgroupRoot)
	must(t, err)
	defer cgroup.Close()
	for _, p := range bpf.SocketPrograms() {
		r, err := bpflink.QueryPrograms(bpflink.QueryOptions{Target: int(cgroup.Fd()), Attach: p.Attach})
		must(t, err)
		programs += len(r.Programs)
	}
	return programs
}

// socketLinks returns what is attached to sockets by the pins of a node.
func (n *node) socketLinks(t *testing.T) map[string]*bpflink.Info {
	t.Helper()
	dir := filepath.Join(n.bpffs, "fairlead", "links")
	entries, err := os.ReadDir(dir)
	must(t, err)
	links := map[string]*bpflink.Info{}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "sockets_") {
			continue
		}
		l, err := bpflink.LoadPinnedLink(filepath.Join(dir, e.Name()), nil)
		must(t, err)
		links[e.Name()], err = l.Info()
		must(t, err)
		must(t, l.Close())
	}
	return links
}
