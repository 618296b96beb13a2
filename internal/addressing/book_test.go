// SPDX-License-Identifier: Apache-2.0

package addressing

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

var (
	start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ids   = IDs{1, 4095}
	small = Sizes{Pods: {V4: 24, V6: 64}, Services: {V4: 26}}
)

const rest = time.Hour

// pools have room for 16 clusters' pods and 8 clusters' Services.
func pools() []Pool {
	return []Pool{
		{Name: "pods4", Use: Pods, Prefixes: []netip.Prefix{prefix("10.64.0.0/20")}},
		{Name: "pods6", Use: Pods, Prefixes: []netip.Prefix{prefix("fd00:64::/56")}},
		{Name: "services", Use: Services, Prefixes: []netip.Prefix{prefix("10.96.0.0/23")}},
	}
}

func open(t *testing.T, p []Pool, holdings []Holding, now time.Time) *Book {
	t.Helper()
	b, err := Open(p, ids, holdings, rest, now)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func reserve(t *testing.T, b *Book, r Request) Holding {
	t.Helper()
	h, err := b.Reserve(r)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func asks(name string) Request { return Request{Cluster: "fleet/" + name, UID: name, Sizes: small} }

func TestAClusterGetsANumberAndRanges(t *testing.T) {
	b := open(t, pools(), nil, start)
	h := reserve(t, b, asks("a"))
	if h.ID != 1 || fmt.Sprint(h.Ranges) != "[pods 10.64.0.0/24 pods fd00:64::/64 services 10.96.0.0/26]" {
		t.Errorf("got %d %v", h.ID, h.Ranges)
	}
	if again := reserve(t, b, asks("a")); fmt.Sprint(again) != fmt.Sprint(h) {
		t.Errorf("asked again: %v, before %v", again, h)
	}
	if other := reserve(t, b, asks("b")); other.ID != 2 || fmt.Sprint(other.Ranges) != "[pods 10.64.1.0/24 pods fd00:64:0:1::/64 services 10.96.0.64/26]" {
		t.Errorf("the next one got %d %v", other.ID, other.Ranges)
	}
}

func TestWhatAClusterGaveBackRests(t *testing.T) {
	b := open(t, pools(), nil, start)
	first := reserve(t, b, asks("a"))
	reserve(t, b, asks("b"))
	b.Free("fleet/a", "a")
	for _, c := range []struct {
		name string
		at   time.Duration
		same bool
	}{{"while it rests", rest - time.Second, false}, {"after", rest, true}} {
		t.Run(c.name, func(t *testing.T) {
			h := reserve(t, open(t, pools(), b.Holdings(), start.Add(c.at)), asks("c"))
			if (h.ID == first.ID) != c.same || (h.Ranges[0] == first.Ranges[0]) != c.same {
				t.Errorf("got %d %v; the cluster before had %d %v", h.ID, h.Ranges, first.ID, first.Ranges)
			}
		})
	}
	// A Cluster of the same name, made anew, is another cluster.
	anew := asks("a")
	anew.UID = "another"
	if h := reserve(t, b, anew); h.ID == first.ID {
		t.Errorf("it got %d, which rests", h.ID)
	}
}

func TestHolesAreUsedBeforeWholeOnes(t *testing.T) {
	b := open(t, pools(), nil, start)
	for _, n := range []string{"a", "b", "c"} {
		reserve(t, b, asks(n))
	}
	b.Free("fleet/b", "b")
	later := open(t, pools(), b.Holdings(), start.Add(rest))
	if h := reserve(t, later, asks("d")); h.Of(Pods)[0] != prefix("10.64.1.0/24") {
		t.Errorf("got %v, want the hole 10.64.1.0/24", h.Of(Pods))
	}
	big := Request{Cluster: "fleet/big", UID: "big", Sizes: Sizes{Pods: {V4: 21}}}
	if h := reserve(t, later, big); h.Of(Pods)[0] != prefix("10.64.8.0/21") {
		t.Errorf("got %v, want the half that is whole", h.Of(Pods))
	}
}

func TestWhatAClusterDoesNotGet(t *testing.T) {
	named := func(u Use, p string) Request {
		r := asks("x")
		r.Named = []Range{{u, prefix(p)}}
		return r
	}
	for _, c := range []struct {
		name  string
		pools []Pool
		ids   IDs
		ask   Request
		want  string
	}{
		{"another's range", pools(), ids, named(Pods, "10.64.0.0/22"), "Cluster fleet/x gets no range for pods: it names 10.64.0.0/22, and Cluster fleet/a has 10.64.0.0/24 for pods: name another, or none"},
		{"another's range, for another use", pools(), ids, named(Services, "10.64.0.128/25"), "gets no range for services: it names 10.64.0.128/25, and Cluster fleet/a has 10.64.0.0/24 for pods"},
		{"what rests", pools(), ids, named(Pods, "10.64.1.0/24"), "had 10.64.1.0/24 for pods until 2026-01-01T00:00:00Z: name another, or none; what rests is free again at 2026-01-01T01:00:00Z"},
		{"bits beyond the length", pools(), ids, named(Pods, "10.65.0.1/24"), "10.65.0.1/24 has bits beyond its length: write 10.65.0.0/24"},
		{"itself twice", pools(), ids, Request{Cluster: "fleet/x", UID: "x", Named: []Range{{Pods, prefix("10.65.0.0/16")}, {Services, prefix("10.65.3.0/24")}}}, "it names 10.65.3.0/24, which overlaps 10.65.0.0/16 that it has for pods: correct one of them"},
		{"a full pool", pools(), ids, Request{Cluster: "fleet/x", UID: "x", Sizes: Sizes{Services: {V4: 23}}}, "gets no range for services: no pool for services has an IPv4 /23 left: add a pool, or delete clusters; what rests is free again at"},
		{"no pool", pools(), ids, Request{Cluster: "fleet/x", UID: "x", Sizes: Sizes{LoadBalancers: {V4: 28}}}, "no pool for loadBalancers has an IPv4 /28 left: add a pool, or delete clusters"},
		{"no number", pools(), IDs{1, 2}, asks("x"), "Cluster fleet/x gets no cluster ID: all of 1 to 2 are taken: allow more, or delete clusters; what rests is free again at"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := Open(c.pools, c.ids, nil, rest, start)
			if err != nil {
				t.Fatal(err)
			}
			reserve(t, b, asks("a"))
			reserve(t, b, asks("b"))
			b.Free("fleet/b", "b")
			before := fmt.Sprint(b.Holdings(), b.View(small))
			_, err = b.Reserve(c.ask)
			var refusal *Refusal
			if !errors.As(err, &refusal) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if after := fmt.Sprint(b.Holdings(), b.View(small)); after != before {
				t.Errorf("something was given all the same: %s, before %s", after, before)
			}
		})
	}
}

func TestWhatAClusterNamesItKeeps(t *testing.T) {
	b := open(t, pools(), nil, start)
	r := asks("a")
	r.Named = []Range{{Pods, prefix("172.20.0.0/16")}, {Services, prefix("10.96.1.0/24")}}
	h := reserve(t, b, r)
	if fmt.Sprint(h.Ranges) != "[pods 172.20.0.0/16 pods fd00:64::/64 services 10.96.1.0/24]" {
		t.Errorf("got %v", h.Ranges)
	}
	for range 4 {
		reserve(t, b, asks(fmt.Sprint(len(b.Holdings()))))
	}
	if _, err := b.Reserve(asks("more")); err == nil {
		t.Error("a part of the pool that a cluster named was given to another")
	}
}

func TestClustersThatRunAlreadyAreRecordedAsTheyAre(t *testing.T) {
	b := open(t, pools(), nil, start)
	for _, n := range []string{"old", "older"} {
		h := reserve(t, b, Request{Cluster: "fleet/" + n, UID: n, Sizes: small, Existing: true, Named: []Range{{Pods, prefix("10.64.0.0/22")}}})
		if fmt.Sprint(h.Ranges) != "[pods 10.64.0.0/22]" {
			t.Errorf("%s: got %v", n, h.Ranges)
		}
	}
	if h := reserve(t, b, asks("new")); h.Of(Pods)[0] != prefix("10.64.4.0/24") {
		t.Errorf("a new one got %v", h.Of(Pods))
	}
	conflicts := b.Conflicts()
	if len(conflicts) != 1 || conflicts[0].String() != "Cluster fleet/old has pods 10.64.0.0/22, and Cluster fleet/older has pods 10.64.0.0/22: they cannot be joined into a mesh until one of them is made anew" {
		t.Errorf("conflicts: %v", conflicts)
	}
}

// Whatever comes and goes, in whatever order, and however often the book is written down and
// opened again: no two clusters have anything in common, and nothing that rests is given.
func TestNothingIsGivenTwice(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		now := start
		var holdings []Holding
		for step := range 150 {
			now = now.Add(time.Duration(r.IntN(20)) * time.Minute)
			b := open(t, pools(), holdings, now)
			name := fmt.Sprint("c", r.IntN(24))
			if r.IntN(3) == 0 {
				b.Free("fleet/"+name, name)
			} else if _, err := b.Reserve(asks(name)); err != nil && !errors.As(err, new(*Refusal)) {
				t.Fatal(err)
			}
			holdings = b.Holdings()
			seen := map[uint32]string{}
			for i, x := range holdings {
				if other, ok := seen[x.ID]; ok {
					t.Fatalf("seed %d, step %d: %s and %s have number %d", seed, step, other, x.Cluster, x.ID)
				}
				seen[x.ID] = x.Cluster
				for _, y := range holdings[:i] {
					for _, a := range x.Ranges {
						if slices.ContainsFunc(y.Ranges, func(b Range) bool { return a.Prefix.Overlaps(b.Prefix) }) {
							t.Fatalf("seed %d, step %d: %v and %v", seed, step, x, y)
						}
					}
				}
			}
		}
	}
}

func TestAThousandClustersAtOnce(t *testing.T) {
	b := open(t, []Pool{
		{Name: "p4", Use: Pods, Prefixes: []netip.Prefix{prefix("10.0.0.0/8")}}, {Name: "p6", Use: Pods, Prefixes: []netip.Prefix{prefix("fd00::/40")}},
		{Name: "s", Use: Services, Prefixes: []netip.Prefix{prefix("172.16.0.0/14")}},
	}, nil, start)
	sizes := Sizes{Pods: {V4: 18, V6: 56}, Services: {V4: 24}}
	began := time.Now()
	for i := range 1000 {
		n := fmt.Sprint(i)
		reserve(t, b, Request{Cluster: "fleet/" + n, UID: n, Sizes: sizes})
	}
	t.Logf("1,000 clusters in %v", time.Since(began).Round(time.Millisecond))
	if c := b.Conflicts(); len(c) != 0 {
		t.Errorf("%d conflicts, the first: %v", len(c), c[0])
	}
}

func TestAForecast(t *testing.T) {
	var holdings []Holding
	for i := range 4 {
		holdings = append(holdings, Holding{Cluster: fmt.Sprint(i), UID: fmt.Sprint(i), ID: uint32(i + 1), Since: start,
			Ranges: []Range{{Pods, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64, byte(i), 0}), 24)}}})
	}
	holdings[3].Freed = start.Add(15 * 24 * time.Hour)
	b, err := Open(pools(), ids, holdings, 7*24*time.Hour, start.Add(15*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	v := b.View(Sizes{Pods: {V4: 24}})
	if len(v) != 1 || v[0].Total != 16 || v[0].Free != 12 || v[0].Rests != 1 || v[0].Held() != 3 {
		t.Fatalf("got %+v", v)
	}
	// Three in a month, thirteen are left.
	want := start.Add(15*24*time.Hour + 130*24*time.Hour)
	if got := v[0].Runout; got.Sub(want).Abs() > time.Minute {
		t.Errorf("they run out at %v, want %v", got, want)
	}
}

func TestPoolsThatCannotBeUsed(t *testing.T) {
	for _, c := range []struct {
		name  string
		pools []Pool
		ids   IDs
		sizes Sizes
		want  string
	}{
		{"good ones", pools(), ids, small, ""},
		{"two of a name", append(pools(), Pool{Name: "pods4", Use: Pods, Prefixes: []netip.Prefix{prefix("10.1.0.0/16")}}), ids, small, "pool pods4: there are two of that name"},
		{"overlap", append(pools(), Pool{Name: "more", Use: Services, Prefixes: []netip.Prefix{prefix("10.64.1.0/24")}}), ids, small, "pool more: prefixes has 10.64.1.0/24, which overlaps 10.64.0.0/20 of pool pods4"},
		{"too small", pools(), ids, Sizes{Pods: {V4: 16}}, "class std: no pool for pods has room for one IPv4 /16"},
		{"no such length", pools(), ids, Sizes{Pods: {V4: 33}}, "a /33 for pods is no IPv4 range"},
		{"host bits", []Pool{{Name: "p", Use: Pods, Prefixes: []netip.Prefix{prefix("10.0.0.1/8")}}}, ids, Sizes{}, "pool p: prefixes: 10.0.0.1/8 has bits beyond its length: write 10.0.0.0/8"},
		{"no prefix", []Pool{{Name: "p", Use: Pods}}, ids, Sizes{}, "pool p: prefixes is empty"},
		{"no use", []Pool{{Name: "p", Use: "x", Prefixes: []netip.Prefix{prefix("10.0.0.0/8")}}}, ids, Sizes{}, `pool p: use "x" is none`},
		{"reserved elsewhere", []Pool{{Name: "p", Use: Pods, Prefixes: []netip.Prefix{prefix("10.0.0.0/8")}, Reserved: []netip.Prefix{prefix("11.0.0.0/24")}}}, ids, Sizes{}, "reserved has 11.0.0.0/24, which is not in its prefixes"},
		{"multicast", []Pool{{Name: "p", Use: Pods, Prefixes: []netip.Prefix{prefix("224.0.0.0/8")}}}, ids, Sizes{}, "is not for hosts of a network"},
		{"no numbers", pools(), IDs{5, 4}, small, "clusterIDs 5 to 4 are none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := CheckPools(c.pools, c.ids, map[string]Sizes{"std": c.sizes})
			if (c.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
