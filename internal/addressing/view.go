// SPDX-License-Identifier: Apache-2.0

package addressing

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"
)

// Usage is how much of the pools for one use, of one family, is taken. It is counted in ranges
// of the length that a class of clusters gets.
type Usage struct {
	Use    Use
	IPv4   bool
	Bits   int
	Total  float64
	Free   float64
	Rests  float64
	Runout time.Time // when the last one goes, zero: not within ten years
}

// Held is how many ranges are taken, by clusters that are there or by reservation.
func (u Usage) Held() float64 { return u.Total - u.Free - u.Rests }

// forecastOver is what the forecast looks back on, forecastTo how far it looks ahead.
const (
	forecastOver = 30 * 24 * time.Hour
	forecastTo   = 10 * 365 * 24 * time.Hour
)

// View says how much of the pools is taken for clusters of a class. Runout goes on from how
// many clusters there are more than 30 days ago.
func (b *Book) View(class Sizes) []Usage {
	var out []Usage
	for _, u := range Uses {
		for _, is4 := range []bool{true, false} {
			bits := class[u].V6
			if is4 {
				bits = class[u].V4
			}
			if bits == 0 {
				continue
			}
			v := Usage{Use: u, IPv4: is4, Bits: bits}
			for _, p := range b.pools {
				if p.Use == u {
					v.Total += rangesIn(p.Prefixes, is4, bits)
				}
			}
			v.Free = rangesIn(b.free[u].Prefixes(), is4, bits)
			v.Rests, v.Runout = b.trend(v)
			out = append(out, v)
		}
	}
	return out
}

// trend is how many ranges rest, and when the free ones run out if it goes on as it did.
func (b *Book) trend(v Usage) (rests float64, runout time.Time) {
	grown := 0.0
	for i := range b.holdings {
		h := &b.holdings[i]
		var mine []netip.Prefix
		for _, p := range h.Of(v.Use) {
			if slices.ContainsFunc(b.pools, func(q Pool) bool { return q.Use == v.Use && within(p, q.Prefixes) }) {
				mine = append(mine, p)
			}
		}
		n := share(mine, v.IPv4, v.Bits)
		switch {
		case !h.held():
			rests += n
		case b.now.Sub(h.Since) < forecastOver:
			grown += n
		}
	}
	if grown <= 0 {
		return rests, time.Time{}
	}
	left := (v.Free + rests) / grown * float64(forecastOver)
	if left > float64(forecastTo) {
		return rests, time.Time{}
	}
	return rests, b.now.Add(time.Duration(left))
}

// rangesIn is how many ranges of a length fit into prefixes.
func rangesIn(in []netip.Prefix, is4 bool, bits int) float64 {
	n := 0.0
	for _, p := range in {
		if p.Addr().Is4() == is4 && p.Bits() <= bits {
			n += math.Exp2(float64(bits - p.Bits()))
		}
	}
	return n
}

// share is how many ranges of a length prefixes amount to, parts counted as such.
func share(of []netip.Prefix, is4 bool, bits int) float64 {
	n := 0.0
	for _, p := range of {
		if p.Addr().Is4() == is4 {
			n += math.Exp2(float64(bits - p.Bits()))
		}
	}
	return n
}

func within(p netip.Prefix, in []netip.Prefix) bool {
	return slices.ContainsFunc(in, func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Overlaps(p) })
}

// Conflict is a range that two clusters have: each had it before Fairlead knew of it.
type Conflict struct {
	A, B   string
	Ra, Rb Range
}

func (c Conflict) String() string {
	return fmt.Sprintf("Cluster %s has %s, and Cluster %s has %s: they cannot be joined into a mesh until one of them is made anew", c.A, c.Ra, c.B, c.Rb)
}

// Conflicts are the ranges that clusters have in common.
func (b *Book) Conflicts() []Conflict {
	type owned struct {
		Range
		by string
	}
	var all []owned
	for i := range b.holdings {
		if h := &b.holdings[i]; h.held() {
			for _, r := range h.Ranges {
				all = append(all, owned{r, h.Cluster})
			}
		}
	}
	slices.SortFunc(all, func(x, y owned) int {
		if c := x.Prefix.Addr().Compare(y.Prefix.Addr()); c != 0 {
			return c
		}
		return x.Prefix.Bits() - y.Prefix.Bits()
	})
	var out []Conflict
	// Prefixes overlap only by one lying in the other: a stack of those that are open.
	var open []owned
	for _, o := range all {
		for len(open) > 0 && !open[len(open)-1].Prefix.Overlaps(o.Prefix) {
			open = open[:len(open)-1]
		}
		for _, outer := range open {
			if outer.by != o.by {
				out = append(out, Conflict{A: outer.by, B: o.by, Ra: outer.Range, Rb: o.Range})
			}
		}
		open = append(open, o)
	}
	return out
}
