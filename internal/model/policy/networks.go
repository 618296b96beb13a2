// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"

	"github.com/fairlead-io/fairlead/internal/state"
)

const fixCIDR = "write it as 10.1.0.0/16 or fd00:1::/64"

// network reads a CIDR; nil, with a fault noted, when it is none.
func (f *faults) network(field, text string) *state.PolicyNetwork {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		f.add(field, fmt.Sprintf("%q is not a range of addresses", text), fixCIDR)
		return nil
	}
	return encodeNetwork(p.Masked())
}

func encodeNetwork(p netip.Prefix) *state.PolicyNetwork {
	return &state.PolicyNetwork{Address: p.Addr().AsSlice(), Bits: uint32(p.Bits())}
}

// block reads a CIDR with exceptions, which must be inside of it.
func (f *faults) block(field, cidr string, except []string) *state.PolicyNetwork {
	n := f.network(field+".cidr", cidr)
	ok := n != nil
	for i, text := range except {
		at := fmt.Sprintf("%s.except[%d]", field, i)
		e := f.network(at, text)
		if e == nil || n == nil {
			ok = false
			continue
		}
		if !inside(n, e) {
			f.add(at, fmt.Sprintf("%s is not a part of %s", text, cidr), "name a smaller range inside of the cidr")
			ok = false
			continue
		}
		n.Except = append(n.Except, e)
	}
	if !ok {
		return nil
	}
	return n
}

func inside(whole, part *state.PolicyNetwork) bool {
	a, _ := netip.AddrFromSlice(whole.GetAddress())
	b, _ := netip.AddrFromSlice(part.GetAddress())
	return a.BitLen() == b.BitLen() && part.GetBits() > whole.GetBits() && netip.PrefixFrom(a, int(whole.GetBits())).Contains(b)
}

// numbers reads ports from first to last; nil, with a fault noted, when they are none.
func (f *faults) numbers(field string, protocol uint32, first, last int32) *state.PolicyPort {
	if first < 1 || first > 65535 || last > 65535 {
		f.add(field, fmt.Sprintf("ports %d to %d do not exist", first, last), "name ports from 1 to 65535")
		return nil
	}
	if last < first {
		f.add(field, fmt.Sprintf("the last port %d is below the first, %d", last, first), "name the lower port first")
		return nil
	}
	return &state.PolicyPort{Protocol: protocol, First: uint32(first), Last: uint32(last)}
}
