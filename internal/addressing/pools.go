// SPDX-License-Identifier: Apache-2.0

package addressing

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// CheckPools says what is wrong with pools and with the sizes that clusters are to get from
// them, every fault with the pool and the field that it is in.
func CheckPools(pools []Pool, ids IDs, classes map[string]Sizes) error {
	var errs []error
	if ids.First == 0 || ids.Last < ids.First {
		errs = append(errs, fmt.Errorf("clusterIDs %d to %d are none: the first must be at least 1, the last not before it", ids.First, ids.Last))
	}
	names := map[string]bool{}
	for i, p := range pools {
		if names[p.Name] {
			errs = append(errs, fmt.Errorf("pool %s: there are two of that name: rename one", p.Name))
		}
		names[p.Name] = true
		errs = append(errs, p.check()...)
		for _, q := range pools[:i] {
			if a, b, ok := overlap(p.Prefixes, q.Prefixes); ok {
				errs = append(errs, fmt.Errorf("pool %s: prefixes has %s, which overlaps %s of pool %s: an address can be in one pool only", p.Name, a, b, q.Name))
			}
		}
	}
	for name, sizes := range classes {
		for _, u := range Uses {
			errs = append(errs, checkSize(pools, name, u, sizes[u])...)
		}
	}
	slices.SortFunc(errs, func(a, b error) int {
		switch x, y := a.Error(), b.Error(); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	return errors.Join(errs...)
}

func (p *Pool) check() []error {
	var errs []error
	if !slices.Contains(Uses, p.Use) {
		errs = append(errs, fmt.Errorf("pool %s: use %q is none: write one of %v", p.Name, p.Use, Uses))
	}
	if len(p.Prefixes) == 0 {
		errs = append(errs, fmt.Errorf("pool %s: prefixes is empty: name at least one", p.Name))
	}
	for i, a := range p.Prefixes {
		if err := usable(a); err != nil {
			errs = append(errs, fmt.Errorf("pool %s: prefixes: %w", p.Name, err))
			continue
		}
		for _, b := range p.Prefixes[:i] {
			if a.Overlaps(b) {
				errs = append(errs, fmt.Errorf("pool %s: prefixes has %s, which overlaps %s: leave one out", p.Name, a, b))
			}
		}
	}
	for _, r := range p.Reserved {
		if err := usable(r); err != nil {
			errs = append(errs, fmt.Errorf("pool %s: reserved: %w", p.Name, err))
		} else if !slices.ContainsFunc(p.Prefixes, r.Overlaps) {
			errs = append(errs, fmt.Errorf("pool %s: reserved has %s, which is not in its prefixes: leave it out", p.Name, r))
		}
	}
	return errs
}

// usable says what is wrong with a prefix.
func usable(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return errors.New("one is no prefix: write it as 10.64.0.0/12 or fd00:64::/32")
	case p.Addr().Is4In6():
		return fmt.Errorf("%s is an IPv4 prefix written as an IPv6 one: write it as 10.64.0.0/12", p)
	case p != p.Masked():
		return fmt.Errorf("%s has bits beyond its length: write %s", p, p.Masked())
	case p.Addr().IsMulticast(), p.Addr().IsLoopback(), p.Addr().IsLinkLocalUnicast():
		return fmt.Errorf("%s is not for hosts of a network: choose another", p)
	}
	return nil
}

// checkSize says whether the pools can give at least one cluster of a class its range.
func checkSize(pools []Pool, class string, u Use, b Bits) []error {
	var errs []error
	for _, f := range []struct {
		name      string
		bits, max int
		of        func(netip.Addr) bool
	}{{"IPv4", b.V4, 32, netip.Addr.Is4}, {"IPv6", b.V6, 128, netip.Addr.Is6}} {
		if f.bits == 0 {
			continue
		}
		if f.bits < 0 || f.bits > f.max {
			errs = append(errs, fmt.Errorf("class %s: a /%d for %s is no %s range: write a length from 1 to %d", class, f.bits, u, f.name, f.max))
			continue
		}
		fits := slices.ContainsFunc(pools, func(p Pool) bool {
			return p.Use == u && slices.ContainsFunc(p.Prefixes, func(x netip.Prefix) bool {
				return x.IsValid() && f.of(x.Addr()) && x.Bits() <= f.bits
			})
		})
		if !fits {
			errs = append(errs, fmt.Errorf("class %s: no pool for %s has room for one %s /%d: add a larger one, or choose a longer prefix", class, u, f.name, f.bits))
		}
	}
	return errs
}

func overlap(a, b []netip.Prefix) (x, y netip.Prefix, ok bool) {
	for _, x := range a {
		for _, y := range b {
			if x.Overlaps(y) {
				return x, y, true
			}
		}
	}
	return netip.Prefix{}, netip.Prefix{}, false
}
