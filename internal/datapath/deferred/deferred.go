// SPDX-License-Identifier: Apache-2.0

// Package deferred keeps the nftables table "inet fairlead_deferred": packets whose pod's
// policies were to be asked where they leave the host's stack, and that leave it where
// nobody asks, are dropped. There is one only where kube-proxy translates Services.
//
// It must not touch any other table.
package deferred

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

const tableName = "fairlead_deferred"

// Rules say what is dropped. The zero value drops nothing, and needs no table.
type Rules struct {
	// Mark is the bit of a packet's mark that says that its policies are yet to be asked.
	Mark uint32
	// Judged are the devices where they are; one that ends in "*" stands for all whose names
	// begin so.
	Judged []string
}

// chains are where packets of pods pass: what is forwarded, and what is for the host itself.
func (r Rules) chains() map[string]*nftables.ChainHook {
	if r.Mark == 0 {
		return nil
	}
	return map[string]*nftables.ChainHook{"forward": nftables.ChainHookForward, "input": nftables.ChainHookInput}
}

// Sync replaces the table in one transaction. ns is a descriptor of the network namespace.
func Sync(ns int, rules Rules) error {
	conn, err := nftables.New(nftables.WithNetNSFd(ns))
	if err != nil {
		return fmt.Errorf("deferred policies: nftables: %w", err)
	}
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	conn.AddTable(table) // so that there is one to delete
	conn.DelTable(table)
	chains := rules.chains()
	if len(chains) > 0 {
		table = conn.AddTable(table)
	}
	for name, hook := range chains {
		chain := conn.AddChain(&nftables.Chain{
			Name: name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityFilter,
		})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: rules.drop(name), UserData: rules.comment()})
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("deferred policies: write nftables table inet %s: %w", tableName, err)
	}
	return nil
}

// Repair writes the table again if its rules are gone or others. It says whether it did.
func Repair(ns int, rules Rules) (repaired bool, err error) {
	conn, err := nftables.New(nftables.WithNetNSFd(ns))
	if err != nil {
		return false, fmt.Errorf("deferred policies: nftables: %w", err)
	}
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	for name := range rules.chains() {
		found, err := conn.GetRules(table, &nftables.Chain{Name: name, Table: table})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return false, fmt.Errorf("deferred policies: read nftables table inet %s: %w", tableName, err)
		}
		ours := func(r *nftables.Rule) bool { return bytes.Equal(r.UserData, rules.comment()) }
		if len(found) != 1 || !slices.ContainsFunc(found, ours) {
			return true, Sync(ns, rules)
		}
	}
	return false, nil
}

// Remove deletes the table; that there is none is no error.
func Remove(ns int) error { return Sync(ns, Rules{}) }

// comment is that of every rule, which tells those of other Rules. It begins with other words than
// those of hostfilter, which removes the rules that it takes for its own.
func (r Rules) comment() []byte {
	sum := sha256.Sum256(fmt.Append(nil, r))
	return userdata.AppendString(nil, userdata.TypeComment, fmt.Sprintf("fairlead deferred: %x", sum[:8]))
}

// drop drops marked packets, of those that are forwarded the ones that leave where nobody
// judges.
func (r Rules) drop(chain string) []expr.Any {
	mark := binary.NativeEndian.AppendUint32(nil, r.Mark)
	rule := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: slices.Clone(mark), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: mark},
	}
	if chain == "forward" {
		for _, device := range r.Judged {
			rule = append(rule, &expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: deviceName(device)})
		}
	}
	return append(rule, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
}

// deviceName is what a device's name is compared with: all of it, or how it begins.
func deviceName(device string) []byte {
	if begin, many := strings.CutSuffix(device, "*"); many {
		return []byte(begin)
	}
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, device)
	return padded
}
