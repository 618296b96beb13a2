// SPDX-License-Identifier: Apache-2.0

package deferred_test

import (
	"os"
	"runtime"
	"testing"

	"github.com/google/nftables"
	vnetns "github.com/vishvananda/netns"

	"github.com/fairlead-io/fairlead/internal/datapath/deferred"
	"github.com/fairlead-io/fairlead/internal/datapath/hostfilter"
)

// TestRepair puts back what a firewall that loads its rules anew has removed, and nothing where
// nothing is marked.
func TestRepair(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("makes a network namespace: run it as root (make test-bpf)")
	}
	runtime.LockOSThread() // never unlocked: the namespace ends with the thread
	ns, err := vnetns.New()
	must(t, err)
	t.Cleanup(func() { ns.Close() })
	rules := deferred.Rules{Mark: 1 << 20, Judged: []string{"eth0", "fl*"}}
	must(t, deferred.Sync(int(ns), rules))
	expectRepair(t, int(ns), rules, false)
	// Who keeps rules in the chains of others takes none of these for its own.
	must(t, hostfilter.Sync(int(ns), nil))
	expectRepair(t, int(ns), rules, false)

	conn, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	must(t, err)
	conn.FlushRuleset()
	must(t, conn.Flush())
	expectRepair(t, int(ns), rules, true)
	expectRepair(t, int(ns), rules, false)

	rules.Judged = rules.Judged[:1]
	expectRepair(t, int(ns), rules, true)
	must(t, deferred.Remove(int(ns)))
	tables, err := conn.ListTables()
	must(t, err)
	if len(tables) > 0 {
		t.Errorf("%d tables are left", len(tables))
	}
	expectRepair(t, int(ns), deferred.Rules{}, false)
}

func expectRepair(t *testing.T, ns int, rules deferred.Rules, want bool) {
	t.Helper()
	got, err := deferred.Repair(ns, rules)
	must(t, err)
	if got != want {
		t.Errorf("repaired: %v, want %v", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
