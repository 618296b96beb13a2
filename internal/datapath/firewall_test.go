// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// ruleset are the rules of a host's firewall, in nft's language, or iptables' own.
type ruleset struct {
	name  string
	write func(t *testing.T, n *node)
}

// droppers are firewalls that drop what they forward unless a rule accepts it.
var droppers = []ruleset{
	{"nftables, one table for both families", func(t *testing.T, n *node) {
		n.run(t, "nft", "add table inet host; add chain inet host forward { type filter hook forward priority 0; policy drop; }")
	}},
	{"nftables, one table for each family", func(t *testing.T, n *node) {
		for _, family := range []string{"ip", "ip6"} {
			n.run(t, "nft", fmt.Sprintf("add table %[1]s host; add chain %[1]s host forward { type filter hook forward priority -10; policy drop; }", family))
		}
	}},
	{"iptables", func(t *testing.T, n *node) {
		for _, program := range []string{"iptables-nft", "ip6tables-nft"} {
			n.run(t, program, "-P", "FORWARD", "DROP")
		}
	}},
}

// run runs a program in the node's namespace and returns what it says.
func (n *node) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	var out []byte
	err := n.Do(func() (err error) {
		out, err = exec.Command(program, args...).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// accepted counts the rules of ours in the chains of others.
func (n *node) accepted(t *testing.T) int {
	t.Helper()
	rules := n.run(t, "nft", "list ruleset")
	return strings.Count(rules, `accept comment "fairlead: from pods `) + strings.Count(rules, `accept comment "fairlead: to pods `)
}

// TestAHostThatDropsWhatItForwards: what pods send through the host's stack passes
// firewalls that were there before the datapath, that came after it, and that loaded their
// rules anew.
func TestAHostThatDropsWhatItForwards(t *testing.T) {
	for _, routing := range []datapath.Routing{datapath.RoutingTunnel, datapath.RoutingNative} {
		for _, firewall := range droppers {
			t.Run(string(routing)+"/"+firewall.name, func(t *testing.T) {
				w := newShapedWorld(t, 2, shape{routing: routing})
				one, far := w.nodes[0], w.nodes[1].addPod()
				a := one.addPod()
				firewall.write(t, one)
				if routing == datapath.RoutingTunnel { // Waiting for nothing takes its time; once for each firewall is enough.
					checkDropped(t, a.space, w.outside, outsideAt("IPv4", 7001))
				}
				check := func(when string) {
					t.Helper()
					if got := one.accepted(t); got != 4 {
						t.Errorf("%s: %d rules of ours in others' chains, want 4: from and to each family's range", when, got)
					}
					for _, f := range families {
						t.Run(when+"/"+f+"/outside", func(t *testing.T) { checkPath(t, a.space, w.outside, outsideIP(f), one.uplinkIP(f)) })
						t.Run(when+"/"+f+"/other node", func(t *testing.T) { checkPath(t, a.space, far.space, far.ip(f), a.ip(f)) })
					}
				}
				one.syncPeers(t)
				check("a firewall that came later")

				one.run(t, "nft", "flush ruleset")
				firewall.write(t, one)
				one.syncPeers(t)
				check("rules loaded anew")

				one.restart(t, one.opts, []datapath.Endpoint{a.ep})
				one.syncPeers(t)
				check("an agent restarted")

				for i, f := range families {
					service := serviceIP(f, byte(i+1))
					one.addService(t, service, far.ip(f))
					t.Run("service/"+f, func(t *testing.T) { checkService(t, a.space, far, service, f, a.ip(f)) })
				}
				must(t, one.Do(func() error { return datapath.Cleanup(context.Background(), one.opts) }))
				if got := one.accepted(t); got != 0 {
					t.Errorf("after cleaning up %d rules of ours are in others' chains", got)
				}
				if rules := one.run(t, "nft", "list ruleset"); !strings.Contains(rules, "policy drop") {
					t.Errorf("the firewall's own chains are not as they were:\n%s", rules)
				}
			})
		}
	}
}

// checkDropped sees that a datagram does not come to where it is sent, which would answer at once.
func checkDropped(t *testing.T, from, to space, at netip.AddrPort) {
	t.Helper()
	got := inbox(t, to, at)
	defer got.Close()
	c, err := udpDial(from, at, false)
	must(t, err)
	defer c.Close()
	_, err = c.Write([]byte("x"))
	must(t, err)
	must(t, got.SetReadDeadline(time.Now().Add(patience/5)))
	if _, _, err := got.ReadFrom(make([]byte, 16)); err == nil {
		t.Fatal("the firewall drops nothing: nothing would be shown")
	}
}

// TestWhatAnAdministratorDropsStaysDropped: our rules come after those that are there.
func TestWhatAnAdministratorDropsStaysDropped(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	a := n.addPod()
	n.run(t, "iptables-nft", "-P", "FORWARD", "DROP")
	n.run(t, "iptables-nft", "-A", "FORWARD", "-d", outside4, "-p", "udp", "--dport", "7001", "-j", "REJECT")
	n.syncPeers(t)
	udpServer(t, w.outside, outsideAt("IPv4", 7002))
	if _, err := udpAsk(a.space, outsideAt("IPv4", 7002), 10, false); err != nil {
		t.Errorf("a port of which no rule speaks: %v", err)
	}
	udpServer(t, w.outside, outsideAt("IPv4", 7001))
	checkRefused(t, a.space, outsideAt("IPv4", 7001))
}

// TestIptablesListsOurRules: whoever keeps a firewall with iptables sees our rules as its
// own, and what it saves and loads again holds them once.
func TestIptablesListsOurRules(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	n.run(t, "iptables-nft", "-P", "FORWARD", "DROP")
	n.run(t, "iptables-nft", "-A", "FORWARD", "-s", "10.9.0.0/16", "-j", "ACCEPT")
	want := `-P FORWARD DROP
-A FORWARD -s 10.9.0.0/16 -j ACCEPT
-A FORWARD -s 10.244.1.0/24 -m comment --comment "fairlead: from pods 10.244.1.0/24" -j ACCEPT
-A FORWARD -d 10.244.1.0/24 -m comment --comment "fairlead: to pods 10.244.1.0/24" -j ACCEPT
`
	for range 3 {
		n.syncPeers(t)
		if got := n.run(t, "iptables-nft", "-S", "FORWARD"); got != want {
			t.Errorf("iptables lists\n%s\nwant\n%s", got, want)
		}
		n.run(t, "sh", "-c", "iptables-nft-save | iptables-nft-restore")
	}
	n.run(t, "iptables-nft", "-P", "FORWARD", "ACCEPT")
	n.syncPeers(t)
	if got := n.run(t, "iptables-nft", "-S", "FORWARD"); strings.Contains(got, "fairlead") {
		t.Errorf("a chain that drops nothing any more has rules of ours:\n%s", got)
	}
}

// TestFlushedMasquerade: after a flush of the whole ruleset pods are outside under their
// node's address again, and what is right is not written again.
func TestFlushedMasquerade(t *testing.T) {
	w := newWorld(t, 1, false)
	n := w.nodes[0]
	a := n.addPod()
	before := n.run(t, "nft", "-a", "list ruleset")
	n.syncPeers(t)
	if now := n.run(t, "nft", "-a", "list ruleset"); now != before {
		t.Errorf("a table that was right was written again:\n%s", now)
	}
	for _, damage := range []string{"flush ruleset", "flush table inet fairlead", "add rule inet fairlead postrouting accept"} {
		n.run(t, "nft", damage)
		n.syncPeers(t)
		for _, f := range families {
			t.Run(damage+"/"+f, func(t *testing.T) { checkPath(t, a.space, w.outside, outsideIP(f), n.uplinkIP(f)) })
		}
		if rules := n.run(t, "nft", "list ruleset"); strings.Count(rules, "masquerade ") != 2 || strings.Count(rules, "snat ip") != 2 || strings.Contains(rules, "accept\n") {
			t.Errorf("after %q the rules are:\n%s", damage, rules)
		}
	}
}
