// SPDX-License-Identifier: Apache-2.0

package masquerade

import (
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/netns"
)

// freshNamespace returns a network namespace of the test's own.
func freshNamespace(t *testing.T) *netns.NS {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("makes a network namespace: run it as root (make test-bpf)")
	}
	type result struct {
		ns  *netns.NS
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{nil, err}
			return
		}
		ns, err := netns.Current()
		done <- result{ns, err}
	}()
	r := <-done
	noError(t, r.err)
	t.Cleanup(func() { noError(t, r.ns.Close()) })
	return r.ns
}

// rulesIn counts the rules of a table, -1 when there is no such table.
func rulesIn(t *testing.T, conn *nftables.Conn, table string) int {
	t.Helper()
	tables, err := conn.ListTables()
	noError(t, err)
	for _, one := range tables {
		if one.Name != table {
			continue
		}
		chains, err := conn.ListChains()
		noError(t, err)
		n := 0
		for _, c := range chains {
			if c.Table.Name != table {
				continue
			}
			rules, err := conn.GetRules(one, c)
			noError(t, err)
			n += len(rules)
		}
		return n
	}
	return -1
}

func TestOnlyOurTable(t *testing.T) {
	ns := freshNamespace(t)
	conn, err := nftables.New(nftables.WithNetNSFd(ns.FD()))
	noError(t, err)
	other := conn.AddTable(&nftables.Table{Name: "somebody", Family: nftables.TableFamilyINet})
	chain := conn.AddChain(&nftables.Chain{Name: "postrouting", Table: other, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	conn.AddRule(&nftables.Rule{Table: other, Chain: chain})
	noError(t, conn.Flush())

	rules := Rules{
		Pods:    []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("fd00:1::/64")},
		Cluster: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/16"), netip.MustParsePrefix("10.3.0.0/17")},
		Tunnel:  "fl_vxlan",
		Router:  []netip.Addr{netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("fd00:1::1")},
	}
	for range 3 {
		noError(t, Sync(ns.FD(), rules))
		if got := rulesIn(t, conn, tableName); got != 4 { // pods and tunnel, of each family
			t.Errorf("the table has %d rules, want 4", got)
		}
	}
	rules.Pods = nil
	noError(t, Sync(ns.FD(), rules))
	if got := rulesIn(t, conn, tableName); got != 2 {
		t.Errorf("without masquerading the table has %d rules, want 2", got)
	}
	for range 2 { // the second finds nothing
		noError(t, Remove(ns.FD()))
		if got := rulesIn(t, conn, tableName); got != -1 {
			t.Errorf("the table is still there, with %d rules", got)
		}
	}
	if got := rulesIn(t, conn, "somebody"); got != 1 {
		t.Errorf("another table has %d rules, want the 1 that it had", got)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
