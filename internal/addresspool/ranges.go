// SPDX-License-Identifier: Apache-2.0

package addresspool

import (
	"fmt"
	"math/big"
	"net/netip"
	"strings"
)

// Range is all addresses from First to Last, both of them too, of one family.
type Range struct {
	First, Last netip.Addr
}

// ParseRange reads a prefix, a range "first-last", or one address.
func ParseRange(s string) (Range, error) {
	fail := func(why string) (Range, error) {
		return Range{}, fmt.Errorf("%q is %s: write a prefix such as 192.0.2.0/28, or a range such as 192.0.2.10-192.0.2.20", s, why)
	}
	if first, last, ok := strings.Cut(s, "-"); ok {
		a, err1 := parseAddr(first)
		b, err2 := parseAddr(last)
		switch {
		case err1 != nil || err2 != nil:
			return fail("no range of addresses")
		case a.Is4() != b.Is4():
			return fail("a range of two families")
		case b.Less(a):
			return fail("a range whose end comes before its start")
		}
		return Range{a, b}, nil
	}
	if p, err := netip.ParsePrefix(s); err == nil && !p.Addr().Is4In6() {
		return prefixRange(p), nil
	}
	a, err := parseAddr(s)
	if err != nil {
		return fail("no range of addresses")
	}
	return Range{a, a}, nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err == nil && (a.Zone() != "" || a.Is4In6()) {
		err = fmt.Errorf("%q has a form that addresses of Services do not have", s)
	}
	return a, err
}

func prefixRange(p netip.Prefix) Range {
	p = p.Masked()
	last := p.Addr().AsSlice()
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	end, _ := netip.AddrFromSlice(last)
	return Range{p.Addr(), end}
}

// Contains says whether an address is in the range.
func (r Range) Contains(a netip.Addr) bool {
	return a.Is4() == r.First.Is4() && !a.Less(r.First) && !r.Last.Less(a)
}

func (r Range) overlaps(o Range) bool {
	return r.First.Is4() == o.First.Is4() && !r.Last.Less(o.First) && !o.Last.Less(r.First)
}

// usable says whether packets can be sent to all of a range's addresses.
func (r Range) usable() bool {
	for _, p := range notUnicast {
		if r.overlaps(prefixRange(p)) {
			return false
		}
	}
	return true
}

var notUnicast = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/3"), netip.MustParsePrefix("::/128"), netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

// size is the number of addresses.
func (r Range) size() *big.Int {
	n := new(big.Int).Sub(new(big.Int).SetBytes(r.Last.AsSlice()), new(big.Int).SetBytes(r.First.AsSlice()))
	return n.Add(n, big.NewInt(1))
}
