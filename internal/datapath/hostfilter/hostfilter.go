// SPDX-License-Identifier: Apache-2.0

// Package hostfilter lets pods' packets through the firewalls of other programs that drop
// what they do not know: a chain at the forward hook whose policy is drop gets two rules
// for each range of this node's pods, one for packets from it and one for packets to it.
//
// The rules are appended: what an administrator wrote into the chain still decides first,
// and only packets that the policy would have dropped are accepted. Their comment begins
// with "fairlead: ", by which they are found again.
//
// It must not change any other rule, nor make or remove a chain. It does not see the rules
// of legacy iptables (iptables-legacy), which are none of nftables'. A chain that accepts
// by policy and drops by its last rule is left alone, since that rule is what somebody
// wrote.
package hostfilter

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/match"
)

// mark is what the comments of our rules begin with.
const mark = "fairlead: "

// Sync makes every chain that drops what is forwarded accept these ranges of pods, and
// takes our rules out of those that do not drop any more. Where nothing is to change it
// writes nothing. After an error it goes on with the next chain. ns is a descriptor of the
// network namespace.
func Sync(ns int, pods []netip.Prefix) error {
	conn, err := nftables.New(nftables.WithNetNSFd(ns))
	if err != nil {
		return fmt.Errorf("host's firewall: nftables: %w", err)
	}
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyUnspecified)
	if err != nil {
		return fmt.Errorf("host's firewall: list nftables chains: %w", err)
	}
	var errs []error
	for _, c := range chains {
		if !forwards(c) {
			continue
		}
		var want []*nftables.Rule
		if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
			want = rules(c, pods)
		}
		// That it is gone by now is as good.
		if err := syncChain(conn, c, want); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, explain(c, err))
		}
	}
	return errors.Join(errs...)
}

// Remove takes our rules out of all chains.
func Remove(ns int) error { return Sync(ns, nil) }

// forwards says whether packets that are forwarded meet the chain's rules.
func forwards(c *nftables.Chain) bool {
	switch c.Table.Family {
	case nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyINet:
		return c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward
	}
	return false // other families number other hooks
}

// syncChain replaces our rules of a chain in one transaction, unless they are those that
// are wanted already.
func syncChain(conn *nftables.Conn, c *nftables.Chain, want []*nftables.Rule) error {
	all, err := conn.GetRules(c.Table, c)
	if err != nil {
		return err
	}
	var ours []*nftables.Rule
	for _, r := range all {
		if strings.HasPrefix(comment(r), mark) {
			ours = append(ours, r)
		}
	}
	if slices.EqualFunc(ours, want, func(a, b *nftables.Rule) bool { return comment(a) == comment(b) }) {
		return nil
	}
	for _, r := range ours {
		r.Table, r.Chain = c.Table, c
		if err := conn.DelRule(r); err != nil {
			return err
		}
	}
	for _, r := range want {
		conn.AddRule(r)
	}
	return conn.Flush()
}

// explain adds to an error what it is about and, where we know it, what to do.
func explain(c *nftables.Chain, err error) error {
	fix := ""
	if errors.Is(err, unix.EPERM) {
		fix = "; the table belongs to a running program: let that one accept forwarded packets from and to this node's pods"
	}
	return fmt.Errorf("host's firewall: accept pods in nftables chain %s of table %s %s: %w%s", c.Name, familyName(c.Table.Family), c.Table.Name, err, fix)
}

func familyName(f nftables.TableFamily) string {
	return map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet"}[f]
}

// rules are those for the ranges of the families that the chain sees.
func rules(c *nftables.Chain, pods []netip.Prefix) []*nftables.Rule {
	var all []*nftables.Rule
	for _, p := range pods {
		var family []expr.Any
		switch {
		case c.Table.Family == nftables.TableFamilyINet:
			family = match.Family(p.Addr())
		case p.Addr().Is4() != (c.Table.Family == nftables.TableFamilyIPv4):
			continue
		}
		for _, one := range []struct {
			side match.Side
			name string
		}{{match.Source, "from pods "}, {match.Destination, "to pods "}} {
			all = append(all, &nftables.Rule{
				Table: c.Table, Chain: c,
				Exprs:    slices.Concat(family, match.Address(one.side, expr.CmpOpEq, p), accept()),
				UserData: userdata.AppendString(nil, userdata.TypeComment, mark+one.name+p.Masked().String()),
			})
		}
	}
	return all
}

func accept() []expr.Any {
	return []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}}
}

// comment is what nft and iptables-nft show of a rule as its comment. iptables-nft-restore
// writes it as a match that is always true.
func comment(r *nftables.Rule) string {
	for _, e := range r.Exprs {
		if m, ok := e.(*expr.Match); ok {
			if c, ok := m.Info.(*xt.Comment); ok {
				return strings.TrimRight(string(*c), "\x00")
			}
		}
	}
	s, _ := userdata.GetString(r.UserData, userdata.TypeComment)
	return s
}
