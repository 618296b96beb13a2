// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/netns"
)

// ownTable is the table of kube-proxy's nftables mode, one for each family.
const ownTable = "kube-proxy"

// sharedTables are those of iptables that kube-proxy has chains in.
var sharedTables = []string{"nat", "filter", "mangle"}

// Chains of kube-proxy, by name and by what their names begin with. Not all that begins
// with KUBE- is its: the kubelet has KUBE-FIREWALL and canaries, network policies of
// others have KUBE-NWPLCY- and the like.
var (
	chainNames = []string{
		"KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-PROXY-FIREWALL", "KUBE-FORWARD",
		"KUBE-POSTROUTING", "KUBE-MARK-MASQ", "KUBE-PROXY-CANARY",
		// of its IPVS mode
		"KUBE-NODE-PORT", "KUBE-LOAD-BALANCER", "KUBE-SOURCE-RANGES-FIREWALL", "KUBE-IPVS-FILTER", "KUBE-IPVS-OUT-FILTER",
	}
	chainPrefixes = []string{"KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-FW-", "KUBE-XLB-"}
)

// batch bounds the chains of one transaction: a netlink socket holds a few thousand
// messages, and kube-proxy has made chains for every endpoint.
const batch = 256

// Removed is what was removed.
type Removed struct {
	Tables []string // "ip kube-proxy"
	Rules  int      // of iptables' built-in chains
	Chains int
}

// Empty says that there was nothing to remove.
func (r Removed) Empty() bool { return len(r.Tables) == 0 && r.Rules == 0 && r.Chains == 0 }

func (r Removed) String() string {
	var parts []string
	for _, t := range r.Tables {
		parts = append(parts, "nftables table "+t)
	}
	if r.Rules+r.Chains > 0 {
		parts = append(parts, fmt.Sprintf("%d chains of iptables and %d rules that led there", r.Chains, r.Rules))
	}
	return strings.Join(parts, ", ")
}

// Remove removes everything of kube-proxy that is in nftables. After an error it goes on
// with the next table; what it returns is what it removed all the same.
func Remove(ns *netns.NS) (Removed, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(ns.FD()))
	if err != nil {
		return Removed{}, fmt.Errorf("remove kube-proxy's rules: nftables: %w", err)
	}
	tables, err := conn.ListTables()
	if err != nil {
		return Removed{}, fmt.Errorf("remove kube-proxy's rules: list nftables tables: %w", err)
	}
	var out Removed
	var errs []error
	for _, t := range tables {
		family, ok := map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6"}[t.Family]
		if !ok {
			continue
		}
		name := family + " " + t.Name
		switch {
		case t.Name == ownTable:
			conn.DelTable(t)
			if err = conn.Flush(); err == nil {
				out.Tables = append(out.Tables, name)
			}
		case slices.Contains(sharedTables, t.Name):
			err = removeChains(conn, t, &out)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) { // gone by now is as good
			errs = append(errs, fmt.Errorf("remove kube-proxy's rules: nftables table %s: %w", name, err))
		}
		err = nil
	}
	return out, errors.Join(errs...)
}

// removeChains removes kube-proxy's chains from one of iptables' tables: first the rules of
// built-in chains that lead there, in one transaction, and then, as nobody comes there any
// more, the chains a few at a time.
func removeChains(conn *nftables.Conn, t *nftables.Table, out *Removed) error {
	all, err := conn.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(c *nftables.Chain) bool { return c.Table.Name != t.Name })
	theirs := slices.DeleteFunc(slices.Clone(all), func(c *nftables.Chain) bool { return !isTheirs(c.Name) })
	if len(theirs) == 0 {
		return nil
	}
	kept, rules, err := leading(conn, t, all)
	if err != nil {
		return err
	}
	for _, r := range rules {
		if err := conn.DelRule(r); err != nil {
			return err
		}
	}
	if err := conn.Flush(); err != nil {
		return err
	}
	out.Rules += len(rules)
	theirs = slices.DeleteFunc(theirs, func(c *nftables.Chain) bool { return kept[c.Name] })
	for some := range slices.Chunk(theirs, batch) {
		for _, c := range some {
			conn.FlushChain(c)
		}
		if err := conn.Flush(); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(theirs, batch) {
		for _, c := range some {
			conn.DelChain(c)
		}
		if err := conn.Flush(); err != nil {
			return err
		}
		out.Chains += len(some)
	}
	return nil
}

// leading returns the rules of built-in chains that lead to kube-proxy's, and those of its
// chains that must be kept, because chains of others lead there (a CNI plugin may have its
// host ports marked by KUBE-MARK-MASQ).
func leading(conn *nftables.Conn, t *nftables.Table, all []*nftables.Chain) (kept map[string]bool, rules []*nftables.Rule, err error) {
	kept = map[string]bool{}
	var open []*nftables.Chain // chains that stay, and whose rules say what else stays
	for _, c := range all {
		if !isTheirs(c.Name) {
			open = append(open, c)
		}
	}
	for len(open) > 0 {
		c := open[0]
		open = open[1:]
		found, err := conn.GetRules(t, c)
		if err != nil {
			return nil, nil, err
		}
		for _, r := range found {
			to := leadsTo(r)
			switch {
			case !isTheirs(to):
			case c.Hooknum != nil:
				r.Table, r.Chain = t, c
				rules = append(rules, r)
			case !kept[to]:
				kept[to] = true
				if i := slices.IndexFunc(all, func(c *nftables.Chain) bool { return c.Name == to }); i >= 0 {
					open = append(open, all[i])
				}
			}
		}
	}
	return kept, rules, nil
}

// leadsTo is the chain that a rule jumps or goes to, "" for none.
func leadsTo(r *nftables.Rule) string {
	for _, e := range r.Exprs {
		if v, ok := e.(*expr.Verdict); ok && (v.Kind == expr.VerdictJump || v.Kind == expr.VerdictGoto) {
			return v.Chain
		}
	}
	return ""
}

func isTheirs(chain string) bool {
	return slices.Contains(chainNames, chain) ||
		slices.ContainsFunc(chainPrefixes, func(p string) bool { return strings.HasPrefix(chain, p) })
}
