// SPDX-License-Identifier: Apache-2.0

package addressing

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"go4.org/netipx"
)

// Book knows what every cluster of a fleet holds, and gives out what is left. It is for one
// user at a time.
type Book struct {
	pools    []Pool
	ids      IDs
	rest     time.Duration
	now      time.Time
	holdings []Holding
	free     map[Use]*netipx.IPSet
}

// Open makes a Book of what clusters hold now, and held: what was given back rests for as
// long as rest. Pools must have passed CheckPools. Holdings that rest no longer are dropped.
func Open(pools []Pool, ids IDs, holdings []Holding, rest time.Duration, now time.Time) (*Book, error) {
	b := &Book{pools: pools, ids: ids, rest: rest, now: now, free: map[Use]*netipx.IPSet{}}
	for _, h := range holdings {
		if h.held() || now.Before(h.Freed.Add(rest)) {
			b.holdings = append(b.holdings, h)
		}
	}
	slices.SortFunc(b.holdings, func(x, y Holding) int {
		return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.Cluster, y.Cluster), cmp.Compare(x.UID, y.UID))
	})
	for _, u := range Uses {
		var left netipx.IPSetBuilder
		for _, p := range pools {
			if p.Use != u {
				continue
			}
			for _, x := range p.Prefixes {
				left.AddPrefix(x)
			}
			for _, x := range p.Reserved {
				left.RemovePrefix(x)
			}
		}
		// Whatever it is held for: pools of one use may lie in what a cluster has for another.
		for _, h := range b.holdings {
			for _, r := range h.Ranges {
				left.RemovePrefix(r.Prefix)
			}
		}
		set, err := left.IPSet()
		if err != nil {
			return nil, fmt.Errorf("pools for %s: %w", u, err)
		}
		b.free[u] = set
	}
	return b, nil
}

// Holdings are what clusters hold, and what rests.
func (b *Book) Holdings() []Holding { return slices.Clone(b.holdings) }

// Reserve gives a cluster its number and its ranges. One that holds some gets the same again,
// however often it asks. The error is a *Refusal; nothing was given then.
func (b *Book) Reserve(r Request) (Holding, error) {
	if h := b.of(r.Cluster, r.UID); h != nil {
		return *h, nil
	}
	h := Holding{Cluster: r.Cluster, UID: r.UID, Since: b.now}
	if refusal := b.number(&h, &r); refusal != nil {
		return Holding{}, refusal
	}
	before := map[Use]*netipx.IPSet{}
	for u, set := range b.free {
		before[u] = set
	}
	for _, u := range Uses {
		if refusal := b.ranges(&h, &r, u); refusal != nil {
			b.free = before
			return Holding{}, refusal
		}
	}
	b.holdings = append(b.holdings, h)
	return h, nil
}

// Free takes back what a cluster holds; it rests from now on. Whoever holds nothing has given
// it back already.
func (b *Book) Free(cluster, uid string) {
	if h := b.of(cluster, uid); h != nil {
		h.Freed = b.now
	}
}

// of is what a cluster holds, nil for nothing.
func (b *Book) of(cluster, uid string) *Holding {
	for i := range b.holdings {
		if h := &b.holdings[i]; h.held() && h.Cluster == cluster && h.UID == uid {
			return h
		}
	}
	return nil
}

// number gives the number that the cluster has already, or the lowest that is free.
func (b *Book) number(h *Holding, r *Request) *Refusal {
	taken := map[uint32]string{}
	for _, other := range b.holdings {
		taken[other.ID] = other.Cluster
	}
	if r.ID != 0 {
		owner, is := taken[r.ID]
		if !is {
			h.ID = r.ID
			return nil
		}
		if !r.Existing {
			return &Refusal{Cluster: h.Cluster, Owner: owner, Until: b.next(func(o *Holding) bool { return o.ID == r.ID }),
				why: fmt.Sprintf("it has number %d, and so has Cluster %s: name another, or none", r.ID, owner)}
		}
	}
	for id := b.ids.First; ; id++ {
		if _, is := taken[id]; !is {
			h.ID = id
			return nil
		}
		if id == b.ids.Last {
			return &Refusal{Cluster: h.Cluster, Until: b.next(func(o *Holding) bool { return o.ID != 0 }),
				why: fmt.Sprintf("all of %d to %d are taken: allow more, or delete clusters", b.ids.First, b.ids.Last)}
		}
	}
}

// ranges gives the ranges for one use.
func (b *Book) ranges(h *Holding, r *Request, u Use) *Refusal {
	named := map[bool]bool{} // by whether it is IPv4
	for _, n := range r.Named {
		if n.Use != u {
			continue
		}
		if refusal := b.claim(h, n, r.Existing); refusal != nil {
			return refusal
		}
		named[n.Prefix.Addr().Is4()] = true
	}
	if r.Existing {
		return nil
	}
	for _, f := range []struct {
		is4  bool
		bits int
	}{{true, r.Sizes[u].V4}, {false, r.Sizes[u].V6}} {
		if f.bits == 0 || named[f.is4] {
			continue
		}
		p, ok := b.take(u, f.is4, f.bits)
		if !ok {
			return &Refusal{Cluster: h.Cluster, Use: u, Until: b.next(func(o *Holding) bool { return len(o.Of(u)) > 0 }),
				why: fmt.Sprintf("no pool for %s has %s /%d left: add a pool, or delete clusters", u, family(f.is4), f.bits)}
		}
		h.Ranges = append(h.Ranges, Range{u, p})
	}
	return nil
}

// claim gives a cluster what it names itself, if nobody else has any of it.
func (b *Book) claim(h *Holding, n Range, existing bool) *Refusal {
	if err := usable(n.Prefix); err != nil {
		return &Refusal{Cluster: h.Cluster, Use: n.Use, Named: n.Prefix, why: err.Error()}
	}
	for i := range b.holdings {
		other := &b.holdings[i]
		for _, o := range other.Ranges {
			if existing || !o.Prefix.Overlaps(n.Prefix) {
				continue
			}
			refusal := &Refusal{Cluster: h.Cluster, Use: n.Use, Named: n.Prefix, Owner: other.Cluster,
				why: fmt.Sprintf("it names %s, and Cluster %s has %s for %s: name another, or none", n.Prefix, other.Cluster, o.Prefix, o.Use)}
			if !other.held() {
				refusal.why = fmt.Sprintf("it names %s, and Cluster %s had %s for %s until %s: name another, or none",
					n.Prefix, other.Cluster, o.Prefix, o.Use, other.Freed.UTC().Format(time.RFC3339))
				refusal.Until = other.Freed.Add(b.rest)
			}
			return refusal
		}
	}
	for _, mine := range h.Ranges {
		if mine.Prefix.Overlaps(n.Prefix) {
			return &Refusal{Cluster: h.Cluster, Use: n.Use, Named: n.Prefix, Owner: h.Cluster,
				why: fmt.Sprintf("it names %s, which overlaps %s that it has for %s: correct one of them", n.Prefix, mine.Prefix, mine.Use)}
		}
	}
	b.remove(n.Prefix)
	h.Ranges = append(h.Ranges, n)
	return nil
}

// take takes a free range from the pools for a use: from the smallest hole that has room, so
// that large ones stay whole.
func (b *Book) take(u Use, is4 bool, bits int) (netip.Prefix, bool) {
	var best netip.Prefix
	for _, p := range b.free[u].Prefixes() {
		if p.Addr().Is4() == is4 && p.Bits() <= bits && (!best.IsValid() || p.Bits() > best.Bits()) {
			best = p
		}
	}
	if !best.IsValid() {
		return netip.Prefix{}, false
	}
	p := netip.PrefixFrom(best.Addr(), bits)
	b.remove(p)
	return p, true
}

// remove takes addresses from what is free for any use.
func (b *Book) remove(p netip.Prefix) {
	for u, set := range b.free {
		if !set.OverlapsPrefix(p) {
			continue
		}
		var left netipx.IPSetBuilder
		left.AddSet(set)
		left.RemovePrefix(p)
		if set, err := left.IPSet(); err == nil { // a set and a prefix that are valid
			b.free[u] = set
		}
	}
}

// next is when the first of what rests is free again, zero when nothing rests.
func (b *Book) next(matters func(*Holding) bool) time.Time {
	var at time.Time
	for i := range b.holdings {
		h := &b.holdings[i]
		if h.held() || !matters(h) {
			continue
		}
		if t := h.Freed.Add(b.rest); at.IsZero() || t.Before(at) {
			at = t
		}
	}
	return at
}

func family(is4 bool) string {
	if is4 {
		return "an IPv4"
	}
	return "an IPv6"
}
