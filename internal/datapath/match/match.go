// SPDX-License-Identifier: Apache-2.0

// Package match writes what an nftables rule compares of a packet's addresses, in the form
// that nft and iptables-nft write themselves, so that both list such rules.
//
// It must not speak to the kernel.
package match

import (
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Side is one of the two addresses of a packet.
type Side int

// The sides.
const (
	Source Side = iota
	Destination
)

// Family matches packets of the address' family; tables of family inet see both.
func Family(a netip.Addr) []expr.Any {
	family := byte(unix.NFPROTO_IPV4)
	if a.Is6() {
		family = unix.NFPROTO_IPV6
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
	}
}

// Address compares the packet's source or destination with a prefix. The packet must be
// of the prefix's family.
func Address(s Side, op expr.CmpOp, p netip.Prefix) []expr.Any {
	offset, length := uint32(12), uint32(4) // of saddr in the IPv4 header
	if p.Addr().Is6() {
		offset, length = 8, 16
	}
	if s == Destination {
		offset += length
	}
	mask := make([]byte, length)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: length, Mask: mask, Xor: make([]byte, length)},
		&expr.Cmp{Op: op, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}
