// SPDX-License-Identifier: Apache-2.0

package services

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/fairlead-io/fairlead/test/bench/load"
	"github.com/fairlead-io/fairlead/test/bench/target"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == load.Argument {
		os.Exit(load.Main(os.Args[2:]))
	}
	if os.Geteuid() != 0 {
		println("test/bench/services makes network namespaces: run it as root (make test-env)")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestObjectsSayWhatTheDatapathIsTold: subjects must balance over the same endpoints.
func TestObjectsSayWhatTheDatapathIsTold(t *testing.T) {
	for _, server := range []netip.Addr{{}, netip.MustParseAddr("10.244.1.3")} {
		told := service(257, server)
		s, slices := objects(257, server)
		if want := told.Frontends[0].Address.String(); s.Spec.ClusterIP != want || want != "10.97.1.1" {
			t.Errorf("the Service's address is %s, want %s", s.Spec.ClusterIP, want)
		}
		got := map[netip.AddrPort]bool{}
		for _, one := range slices {
			for _, e := range one.Endpoints {
				got[netip.AddrPortFrom(netip.MustParseAddr(e.Addresses[0]), uint16(*one.Ports[0].Port))] = true
			}
		}
		for _, b := range told.Pools[0].Backends {
			if !got[netip.AddrPortFrom(b.Address, b.Port)] {
				t.Errorf("server %v: slices lack %s:%d, they have %v", server, b.Address, b.Port, got)
			}
		}
		if len(got) != endpoints {
			t.Errorf("server %v: %d endpoints, want %d", server, len(got), endpoints)
		}
	}
}

// TestFairleadServesTheLastOfItsServices: Grow itself looks at the packets, and notices a
// client in another cgroup. Without programs kube-proxy is missing. Nothing is left behind.
func TestFairleadServesTheLastOfItsServices(t *testing.T) {
	w, err := topo.New(topo.Settings{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	b, missing, err := New(t.Context(), w, Settings{Dir: t.TempDir(), Say: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	if missing[target.NFTables] == nil || !strings.Contains(missing[target.NFTables].Error(), "-kubernetes") {
		t.Errorf("kube-proxy is missing because of %v, want the flag that names it", missing[target.NFTables])
	}
	for _, size := range []int{1, 30} {
		if err := b.Grow(t.Context(), size); err != nil {
			t.Fatal(err)
		}
	}
	astray := *b.fairlead
	astray.Cgroup = ""
	if err := astray.CheckSockets(t.Context()); err == nil || !strings.Contains(err.Error(), "for the Service") {
		t.Errorf("a client in another cgroup: %v, want to be told of its packets", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(b.cgroup); err == nil {
		t.Errorf("cgroup %s is left behind", b.cgroup)
	}
}
