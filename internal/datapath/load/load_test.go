// SPDX-License-Identifier: Apache-2.0

package load

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/bpf"
)

func newPins(t *testing.T) Pins {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("loads eBPF maps and programs: run it as root (make test-bpf)")
	}
	noError(t, rlimit.RemoveMemlock())
	dir := t.TempDir()
	noError(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { noError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	pins := PinsBelow(dir, bpf.LayoutVersion)
	noError(t, pins.Make())
	noError(t, pins.Make()) // again
	return pins
}

// TestMapsAreKept: what an earlier run wrote is there for the next.
func TestMapsAreKept(t *testing.T) {
	pins := newPins(t)
	key := bpf.AddressOf(netip.MustParseAddr("10.1.0.2"))
	want := bpf.Endpoint{Ifindex: 7}
	first, err := OpenMaps(pins, Sizes{Flows: 1024}, slog.Default())
	noError(t, err)
	noError(t, first.Endpoints.Put(key, want))
	noError(t, first.Close())
	second, err := OpenMaps(pins, Sizes{Flows: 1024}, slog.Default())
	noError(t, err)
	defer second.Close()
	var got bpf.Endpoint
	noError(t, second.Endpoints.Lookup(key, &got))
	if got != want {
		t.Errorf("got row %+v, want %+v", got, want)
	}
}

// TestMapOfAnotherShape: a pinned map that cannot be used is replaced, the others stay.
func TestMapOfAnotherShape(t *testing.T) {
	pins := newPins(t)
	odd, err := ebpf.NewMap(&ebpf.MapSpec{Name: "fl_endpoints", Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	noError(t, err)
	defer odd.Close()
	noError(t, odd.Pin(filepath.Join(pins.Maps(), "fl_endpoints")))
	m, err := OpenMaps(pins, Sizes{Flows: 1024}, slog.New(slog.DiscardHandler))
	noError(t, err)
	defer m.Close()
	noError(t, m.Endpoints.Put(bpf.AddressOf(netip.MustParseAddr("10.1.0.2")), bpf.Endpoint{Ifindex: 7}))
	p, err := m.Load(Settings{Gateway4: netip.MustParseAddr("10.1.0.1"), TunnelIfindex: 3, FlowEntries: 1024})
	noError(t, err)
	p.Close()
}

func TestMACs(t *testing.T) {
	seen := map[string]bool{}
	for _, mac := range []string{RouterMAC("a").String(), RouterMAC("b").String(), PodMAC("a", "eth0").String(), PodMAC("a", "eth1").String(), PodMAC("b", "eth0").String()} {
		if seen[mac] {
			t.Errorf("%s comes twice", mac)
		}
		seen[mac] = true
	}
	for i := range 1000 {
		if mac := PodMAC("container", string(rune('a'+i))); mac[0]&3 != 2 {
			t.Fatalf("%s is not unicast and locally administered", mac)
		}
	}
	if first, again := RouterMAC("a"), RouterMAC("a"); first.String() != again.String() {
		t.Error("a node's MAC is not the same each time")
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
