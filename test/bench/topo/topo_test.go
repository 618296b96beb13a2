// SPDX-License-Identifier: Apache-2.0

package topo_test

import (
	"os"
	"strings"
	"testing"

	"github.com/fairlead-io/fairlead/test/bench/load"
	"github.com/fairlead-io/fairlead/test/bench/topo"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == load.Argument {
		os.Exit(load.Main(os.Args[2:]))
	}
	if os.Geteuid() != 0 {
		println("test/bench/topo makes network namespaces: run it as root (make test-bpf)")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestSubjectsGoTheirWay builds the subjects that need no other program; Build itself
// looks at the packets. Afterwards nothing is mounted any more.
func TestSubjectsGoTheirWay(t *testing.T) {
	dir := t.TempDir()
	w, err := topo.New(topo.Settings{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{topo.Veth, topo.Bridge, topo.FairleadSame, topo.BridgeRoutes, topo.BridgeVXLAN, topo.FairleadVXLAN} {
		t.Run(s, func(t *testing.T) {
			p, err := w.Build(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			spec := load.Spec{Case: load.UDPRR, Server: p.Server6, Duration: 20e6}
			if _, err := load.Run(t.Context(), p.Client.NS, p.Server.NS, spec); err != nil {
				t.Errorf("over IPv6: %v", err)
			}
		})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), dir) {
		t.Error("a mount was left below " + dir)
	}
}

func TestASubjectNobodyKnowsIsNamed(t *testing.T) {
	w, err := topo.New(topo.Settings{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := w.Build(t.Context(), "carrier pigeons"); err == nil || !strings.Contains(err.Error(), `"carrier pigeons"`) {
		t.Errorf("got %v, want the subject named", err)
	}
	if _, err := w.Build(t.Context(), topo.Flannel); err == nil || !strings.Contains(err.Error(), "-flannel") {
		t.Errorf("got %v, want to hear how its program is named", err)
	}
}
