// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"net/netip"
	"testing"

	"github.com/fairlead-io/fairlead/bpf"
)

// rows returns the rows of translations by their key.
func (k *kernel) translations() map[bpf.TranslationKey]bpf.Translation {
	k.t.Helper()
	all := map[bpf.TranslationKey]bpf.Translation{}
	var key bpf.TranslationKey
	var row bpf.Translation
	rows := k.maps["fl_translations"].Iterate()
	for rows.Next(&key, &row) {
		all[key] = row
	}
	must(k.t, rows.Err())
	return all
}

// translationOf returns the row of a packet.
func (k *kernel) translationOf(src, dst netip.Addr, sport, dport uint16, protocol uint8) (bpf.Translation, bool) {
	k.t.Helper()
	row, ok := k.translations()[bpf.TranslationKey{
		Src: bpf.AddressOf(src), Dst: bpf.AddressOf(dst), Sport: order(sport), Dport: order(dport), Protocol: protocol,
	}]
	return row, ok
}

const tcp, datagrams = 6, 17

// TestPorts: clients of a backend on another node are told apart by their port; when none is
// left the packet is dropped, and rows of connections that are over give theirs away.
func TestPorts(t *testing.T) {
	const first, count = 1024, 28224
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			k := newServiceKernel(t, nil)
			k.choose(f.remote, backendPort, bpf.BackendPod)
			k.publish(unspecified(f), servicePort, bpf.Frontend{})
			seen := map[uint16]bool{}
			for port := range uint16(200) {
				k.arrive(udp(t, f.outside, f.node(), 1000+port, servicePort))
				row, ok := k.translationOf(f.outside, f.node(), 1000+port, servicePort, datagrams)
				if !ok || bpf.Netip(row.Src) != f.gateway || order(row.Sport) < first || seen[row.Sport] {
					t.Fatalf("client port %d: row %+v (%t), want another port of the router's", port, row, ok)
				}
				seen[row.Sport] = true
			}
			taken := bpf.Translation{Src: bpf.AddressOf(f.node()), Dst: bpf.AddressOf(f.outside), Seen: 1 << 30, Flags: bpf.TranslationReply}
			key := bpf.TranslationKey{Src: bpf.AddressOf(f.remote), Dst: bpf.AddressOf(f.gateway), Sport: order(backendPort), Protocol: datagrams}
			for port := range uint16(count) {
				key.Dport = order(first + port)
				k.put("fl_translations", key, taken)
			}
			action, _ := k.arrive(udp(t, f.outside, f.node(), 999, servicePort))
			wantAction(t, action, actShot)
			if got := k.counted(bpf.HookFromUplink)["no_port_left"]; got != 1 {
				t.Errorf("%d packets are counted as without a port, want 1", got)
			}
			taken.Seen = 0 // long ago
			for port := range uint16(count) {
				key.Dport = order(first + port)
				k.put("fl_translations", key, taken)
			}
			k.arrive(udp(t, f.outside, f.node(), 999, servicePort))
			if _, ok := k.translationOf(f.outside, f.node(), 999, servicePort, datagrams); !ok {
				t.Error("a port that nobody uses any more is not given away")
			}
		})
	}
}

// TestManyPorts: as long as a good part of the ports is free each client gets one.
func TestManyPorts(t *testing.T) {
	for _, f := range families {
		k := newServiceKernel(t, nil)
		k.choose(f.remote, backendPort, bpf.BackendPod)
		k.publish(unspecified(f), servicePort, bpf.Frontend{})
		for port := range uint16(20000) {
			k.arrive(udp(t, f.outside, f.node(), 1000+port, servicePort))
		}
		if n := k.counted(bpf.HookFromUplink)["no_port_left"]; n > 0 {
			t.Errorf("%s: %d of 20000 clients got no port, with 8000 left", f.name, n)
		}
	}
}

// TestResetFreesThePort: after RST of either end nothing of the connection lasts, least of all its port.
func TestResetFreesThePort(t *testing.T) {
	for _, end := range []string{"client", "backend"} {
		f := families[0]
		k := newServiceKernel(t, nil)
		k.choose(f.pod, backendPort, bpf.BackendLocal|bpf.BackendPod)
		k.publish(unspecified(f), servicePort, bpf.Frontend{})
		k.arrive(segment(t, f.outside, f.node(), clientPort, servicePort, "S", ""))
		k.run(bpf.HookFromPod, segment(t, f.pod, f.outside, backendPort, clientPort, "SA", ""))
		if end == "client" {
			k.arrive(segment(t, f.outside, f.node(), clientPort, servicePort, "R", ""))
		} else {
			k.run(bpf.HookFromPod, segment(t, f.pod, f.outside, backendPort, clientPort, "RA", ""))
		}
		rows := k.translations()
		for key, row := range rows {
			if row.Flags&bpf.TranslationClosing == 0 {
				t.Errorf("reset by the %s: the row %+v of %+v is that of an open connection", end, row, key)
			}
		}
		if len(rows) != 2 {
			t.Errorf("reset by the %s: %d rows, want 2", end, len(rows))
		}
	}
}

// TestTwoServicesOnePort: a client may use one port towards two Services with the same backend; the
// answers must be told apart.
func TestTwoServicesOnePort(t *testing.T) {
	for _, f := range families {
		k := newServiceKernel(t, nil)
		k.choose(f.pod, backendPort, bpf.BackendLocal|bpf.BackendPod)
		for _, port := range []uint16{servicePort, servicePort + 1} {
			k.publish(unspecified(f), port, bpf.Frontend{})
			k.arrive(udp(t, f.outside, f.node(), clientPort, port))
		}
		row, _ := k.translationOf(f.outside, f.node(), clientPort, servicePort, datagrams)
		other, _ := k.translationOf(f.outside, f.node(), clientPort, servicePort+1, datagrams)
		if order(row.Sport) != clientPort || order(other.Sport) == clientPort || bpf.Netip(other.Src) != f.outside {
			t.Errorf("%s: the rows are %+v and %+v, want only the first to keep the port, both the address", f.name, row, other)
		}
		_, out := k.run(bpf.HookFromPod, udp(t, f.pod, f.outside, backendPort, order(other.Sport)))
		wantBytes(t, out, udp(t, f.node(), f.outside, servicePort+1, clientPort))
	}
}

// TestBackendLeaves: established TCP stays with its backend, a new connection on the same ports
// and UDP do not.
func TestBackendLeaves(t *testing.T) {
	for _, f := range families {
		k := newServiceKernel(t, nil)
		k.choose(f.pod, backendPort, bpf.BackendLocal|bpf.BackendPod)
		k.publish(unspecified(f), servicePort, bpf.Frontend{})
		syn := segment(t, f.outside, f.node(), clientPort, servicePort, "S", "")
		k.arrive(syn)
		k.arrive(udp(t, f.outside, f.node(), clientPort, servicePort))

		k.put("fl_backends", uint32(6), bpf.Backend{Address: bpf.AddressOf(f.other), Port: order(backendPort), Flags: bpf.BackendLocal | bpf.BackendPod, Pool: testPool})
		k.put("fl_slots", uint32(3), uint32(6))
		backendOf := func(protocol uint8) netip.Addr {
			row, ok := k.translationOf(f.outside, f.node(), clientPort, servicePort, protocol)
			if !ok {
				t.Errorf("%s: protocol %d has no row", f.name, protocol)
			}
			return bpf.Netip(row.Dst)
		}
		send := func() {
			k.arrive(segment(t, f.outside, f.node(), clientPort, servicePort, "A", "on course"))
			k.arrive(udp(t, f.outside, f.node(), clientPort, servicePort))
		}
		if send(); backendOf(tcp) != f.pod || backendOf(datagrams) != f.pod {
			t.Errorf("%s: a choice of others moved a connection", f.name)
		}
		k.put("fl_backends", uint32(5), bpf.Backend{})
		if send(); backendOf(tcp) != f.pod || backendOf(datagrams) != f.other {
			t.Errorf("%s: after the backend is gone TCP is with %s, UDP with %s; want %s and %s", f.name, backendOf(tcp), backendOf(datagrams), f.pod, f.other)
		}
		k.arrive(segment(t, f.outside, f.node(), clientPort, servicePort, "S", ""))
		if backendOf(tcp) != f.other {
			t.Errorf("%s: a new connection went to a backend that is gone", f.name)
		}
		if _, stale := k.translationOf(f.pod, f.outside, backendPort, clientPort, tcp); stale {
			t.Errorf("%s: the former backend's answers are still translated", f.name)
		}
	}
}

// TestPortsUsedAgain: a SYN after the end of a connection chooses anew, a repeated one does not.
func TestPortsUsedAgain(t *testing.T) {
	for _, end := range []string{"client", "backend"} {
		f := families[0]
		k := newServiceKernel(t, nil)
		k.choose(f.pod, backendPort, bpf.BackendLocal|bpf.BackendPod)
		k.publish(unspecified(f), servicePort, bpf.Frontend{})
		syn := segment(t, f.outside, f.node(), clientPort, servicePort, "S", "")
		k.arrive(syn)
		k.put("fl_backends", uint32(6), bpf.Backend{Address: bpf.AddressOf(f.other), Port: order(backendPort), Flags: bpf.BackendLocal | bpf.BackendPod, Pool: testPool})
		k.put("fl_slots", uint32(3), uint32(6))
		k.arrive(syn)
		if row, _ := k.translationOf(f.outside, f.node(), clientPort, servicePort, tcp); bpf.Netip(row.Dst) != f.pod {
			t.Fatal("a SYN that is sent again goes to another backend")
		}
		if end == "client" {
			k.arrive(segment(t, f.outside, f.node(), clientPort, servicePort, "FA", ""))
		} else {
			k.run(bpf.HookFromPod, segment(t, f.pod, f.outside, backendPort, clientPort, "RA", ""))
		}
		k.arrive(syn)
		if row, _ := k.translationOf(f.outside, f.node(), clientPort, servicePort, tcp); bpf.Netip(row.Dst) != f.other {
			t.Errorf("closed by the %s: a new connection is taken for the former one", end)
		}
	}
}

// TestRowsKeepEachOther: what is lost of a connection's two rows comes back with the next packet of a
// later tick.
func TestRowsKeepEachOther(t *testing.T) {
	f := families[0]
	k := newServiceKernel(t, nil)
	k.choose(f.pod, backendPort, bpf.BackendLocal|bpf.BackendPod)
	k.publish(unspecified(f), servicePort, bpf.Frontend{})
	k.arrive(udp(t, f.outside, f.node(), clientPort, servicePort))
	before := k.translations()
	for key, row := range before {
		other := bpf.TranslationKey{Src: row.Dst, Dst: row.Src, Sport: row.Dport, Dport: row.Sport, Protocol: key.Protocol}
		must(t, k.maps["fl_translations"].Delete(other))
		row.Seen--
		k.put("fl_translations", key, row)
		if row.Flags&bpf.TranslationReply != 0 {
			k.run(bpf.HookFromPod, udp(t, f.pod, f.outside, backendPort, clientPort))
		} else {
			k.arrive(udp(t, f.outside, f.node(), clientPort, servicePort))
		}
		back, ok := k.translations()[other]
		if want := before[other]; !ok || back.Src != want.Src || back.Dst != want.Dst || back.Sport != want.Sport ||
			back.Dport != want.Dport || back.Pool != want.Pool || back.Backend != want.Backend || back.Flags&bpf.TranslationReply != want.Flags&bpf.TranslationReply {
			t.Errorf("row %+v came back as %+v (%t), want %+v", other, back, ok, want)
		}
	}
}

// TestWhoMayAsk: from outside neither a cluster address answers nor a Service to clients that it
// does not let in.
func TestWhoMayAsk(t *testing.T) {
	for _, f := range families {
		for _, c := range []struct {
			name     string
			frontend bpf.Frontend
			allow    netip.Addr
			action   uint32
			reason   string // "": none, the packet is the host's
		}{
			{"cluster address", bpf.Frontend{Flags: bpf.FrontendClusterIP}, netip.Addr{}, actOK, ""},
			{"let in", bpf.Frontend{Flags: bpf.FrontendSourceRanges, Service: 3}, f.outside, actRedirect, "service"},
			{"not let in", bpf.Frontend{Flags: bpf.FrontendSourceRanges, Service: 3}, f.pod, actShot, "source_range"},
			{"not let in by another Service's", bpf.Frontend{Flags: bpf.FrontendSourceRanges, Service: 4}, f.outside, actShot, "source_range"},
		} {
			t.Run(f.name+"/"+c.name, func(t *testing.T) {
				k := newServiceKernel(t, nil)
				k.choose(f.pod, backendPort, bpf.BackendLocal|bpf.BackendPod)
				k.publish(f.node(), servicePort, c.frontend)
				if c.allow.IsValid() {
					bits := uint32(32 + 128 - 8)
					k.put("fl_src_ranges", bpf.SourceRangeKey{Prefixlen: bits, Service: 3, Address: bpf.AddressOf(c.allow)}, bpf.SourceRange{Allowed: 1})
				}
				action, _ := k.arrive(udp(t, f.outside, f.node(), clientPort, servicePort))
				wantAction(t, action, c.action)
				if c.reason == "" {
					wantReasons(t, k, bpf.HookFromUplink)
				} else {
					wantReasons(t, k, bpf.HookFromUplink, c.reason)
				}
			})
		}
	}
	f := families[0]
	k := newServiceKernel(t, nil)
	k.put("fl_pools", testPool, bpf.Pool{})
	k.publish(f.node(), servicePort, bpf.Frontend{Flags: bpf.FrontendDropOutside})
	action, _ := k.arrive(udp(t, f.outside, f.node(), clientPort, servicePort))
	wantAction(t, action, actShot)
	wantReasons(t, k, bpf.HookFromUplink, "no_backend")
}

// TestAffinity: a client's connections stay with a backend while the Service asks for it.
func TestAffinity(t *testing.T) {
	for _, f := range families {
		k := newServiceKernel(t, nil)
		k.publish(unspecified(f), servicePort, bpf.Frontend{Affinity: 600})
		pod := func(number uint32, a netip.Addr) {
			k.put("fl_backends", number, bpf.Backend{Address: bpf.AddressOf(a), Port: order(backendPort), Flags: bpf.BackendLocal | bpf.BackendPod, Pool: testPool})
		}
		k.put("fl_pools", testPool, bpf.Pool{Base: 8, Slots: 8})
		pod(5, f.pod)
		pod(6, f.other)
		fill := func(of func(i uint32) uint32) {
			for i := range uint32(8) {
				k.put("fl_slots", 8+i, of(i))
			}
		}
		from := uint16(1000)
		asked := func() netip.Addr {
			from++
			k.arrive(udp(t, f.outside, f.node(), from, servicePort))
			row, _ := k.translationOf(f.outside, f.node(), from, servicePort, datagrams)
			return bpf.Netip(row.Dst)
		}
		fill(func(i uint32) uint32 { return 5 + i%2 })
		first := asked()
		for range 20 {
			if got := asked(); got != first {
				t.Fatalf("%s: a client of %s came to %s", f.name, first, got)
			}
		}
		key := bpf.AffinityKey{Pool: testPool, Client: bpf.AddressOf(f.outside)}
		seen := map[netip.Addr]bool{}
		for range 20 { // each time after the client was away for too long
			var row bpf.Affinity
			must(t, k.maps["fl_affinities"].Lookup(key, &row))
			row.Seen -= 700
			k.put("fl_affinities", key, row)
			seen[asked()] = true
		}
		if len(seen) != 2 {
			t.Errorf("%s: a client that stayed away came to %v, want to both in turn", f.name, seen)
		}
		first = asked()
		other := uint32(5)
		if first == f.pod {
			other = 6
		}
		fill(func(uint32) uint32 { return other }) // it would be chosen now
		if got := asked(); got != first {
			t.Errorf("%s: a client of %s came to %s when others were chosen", f.name, first, got)
		}
		pod(11-other, netip.MustParseAddr("192.0.2.77")) // its number is another's now
		if got := asked(); got == first {
			t.Errorf("%s: a client stays with %s, which is gone", f.name, first)
		}
	}
}
