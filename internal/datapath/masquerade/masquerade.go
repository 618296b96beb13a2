// SPDX-License-Identifier: Apache-2.0

// Package masquerade keeps the nftables table "inet fairlead": which packets leave the
// node with another source than they came with. It speaks netlink, no nft program is
// needed.
//
// It must not touch any other table.
package masquerade

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/match"
)

const (
	tableName = "fairlead"
	chainName = "postrouting"
)

// Rules say what is masqueraded.
type Rules struct {
	// Pods are the ranges of this node's pods. Their traffic to destinations outside
	// Cluster gets the address of the device that it leaves by. Empty: none does.
	Pods []netip.Prefix
	// Cluster are all pod ranges.
	Cluster []netip.Prefix
	// Exceptions are further destinations that see pods' own addresses.
	Exceptions []netip.Prefix
	// Tunnel is the tunnel device. What the host itself sends through it with another
	// address than a pod's gets the Router's of its family, since answers could not come
	// back that way (a process that asked a service has chosen its source before the
	// service's address was translated).
	Tunnel string
	Router []netip.Addr
}

// Sync replaces the table in one transaction; connections that were translated stay so.
// ns is a descriptor of the network namespace.
func Sync(ns int, rules Rules) error {
	conn, err := nftables.New(nftables.WithNetNSFd(ns))
	if err != nil {
		return fmt.Errorf("masquerade: nftables: %w", err)
	}
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	conn.AddTable(table) // so that there is one to delete
	conn.DelTable(table)
	table = conn.AddTable(table)
	chain := conn.AddChain(&nftables.Chain{
		Name:     chainName,
		Table:    table,
		Type:     nftables.ChainTypeNAT,
		Hooknum:  nftables.ChainHookPostrouting,
		Priority: nftables.ChainPriorityNATSource,
	})
	for _, exprs := range rules.expressions() {
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs, UserData: rules.mark()})
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("masquerade: write nftables table inet %s: %w", tableName, err)
	}
	return nil
}

// Repair writes the table again if it is not there, as after a flush of the whole ruleset,
// or has not as many rules as Sync gave it, or those of others. It says whether it did.
func Repair(ns int, rules Rules) (repaired bool, err error) {
	conn, err := nftables.New(nftables.WithNetNSFd(ns))
	if err != nil {
		return false, fmt.Errorf("masquerade: nftables: %w", err)
	}
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	found, err := conn.GetRules(table, &nftables.Chain{Name: chainName, Table: table})
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return false, fmt.Errorf("masquerade: read nftables table inet %s: %w", tableName, err)
	}
	mark := rules.mark()
	theirs := func(r *nftables.Rule) bool { return !bytes.Equal(r.UserData, mark) }
	if len(found) == len(rules.expressions()) && !slices.ContainsFunc(found, theirs) {
		return false, nil
	}
	return true, Sync(ns, rules)
}

// mark is the comment of every rule, which tells those of other Rules.
func (r Rules) mark() []byte {
	sum := sha256.Sum256(fmt.Append(nil, r))
	return userdata.AppendString(nil, userdata.TypeComment, fmt.Sprintf("fairlead: %x", sum[:8]))
}

// Remove deletes the table; that there is none is no error.
func Remove(ns int) error {
	conn, err := nftables.New(nftables.WithNetNSFd(ns))
	if err != nil {
		return fmt.Errorf("masquerade: nftables: %w", err)
	}
	conn.DelTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyINet})
	if err := conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("masquerade: remove nftables table inet %s: %w", tableName, err)
	}
	return nil
}

// expressions returns one list for each rule.
func (r Rules) expressions() [][]expr.Any {
	var rules [][]expr.Any
	for _, pods := range r.Pods {
		rule := append(match.Family(pods.Addr()), outDevice(expr.CmpOpNeq, r.Tunnel)...)
		rule = append(rule, match.Address(match.Source, expr.CmpOpEq, pods)...)
		rule = append(rule, outside(match.Destination, pods.Addr(), slices.Concat(r.Cluster, r.Exceptions))...)
		rules = append(rules, append(rule, masquerade()))
	}
	for _, router := range r.Router {
		rule := append(match.Family(router), outDevice(expr.CmpOpEq, r.Tunnel)...)
		rule = append(rule, outside(match.Source, router, r.Cluster)...)
		rule = append(rule,
			&expr.Fib{Register: 1, FlagSADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)},
		)
		rules = append(rules, append(rule, toRouter(router)...))
	}
	return rules
}

// masquerade chooses source ports at random, as connections that bypass the stack may use
// the same ones without its knowledge.
func masquerade() expr.Any { return &expr.Masq{FullyRandom: true} }

// Source ports that a connection of the host gets in the tunnel: those that the kernel gives
// sockets by default (net.ipv4.ip_local_port_range). The programs translate clients of Services
// to other ones of the router's address (FIRST_PORT in bpf/include/translation.h).
const firstPort, lastPort = 32768, 60999

// toRouter gives a connection the router's address and one of those ports.
func toRouter(router netip.Addr) []expr.Any {
	const address, first, last = 1, 2, 3 // registers
	family := uint32(unix.NFPROTO_IPV4)
	if router.Is6() {
		family = unix.NFPROTO_IPV6
	}
	return []expr.Any{
		&expr.Immediate{Register: address, Data: router.AsSlice()},
		&expr.Immediate{Register: first, Data: binary.BigEndian.AppendUint16(nil, firstPort)},
		&expr.Immediate{Register: last, Data: binary.BigEndian.AppendUint16(nil, lastPort)},
		&expr.NAT{
			Type: expr.NATTypeSourceNAT, Family: family, RegAddrMin: address,
			RegProtoMin: first, RegProtoMax: last, Specified: true, FullyRandom: true,
		},
	}
}

func outDevice(op expr.CmpOp, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: padded},
	}
}

// outside matches addresses that are in none of the ranges of a family.
func outside(s match.Side, family netip.Addr, ranges []netip.Prefix) []expr.Any {
	var all []expr.Any
	for _, p := range ranges {
		if p.Addr().Is4() == family.Is4() {
			all = append(all, match.Address(s, expr.CmpOpNeq, p)...)
		}
	}
	return all
}
