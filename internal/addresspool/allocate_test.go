// SPDX-License-Identifier: Apache-2.0

package addresspool

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

func at(n int) time.Time { return time.Unix(1_800_000_000+int64(n), 0) }

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// pool4 is a pool of two addresses that was made first.
func pool4() Pool {
	return Pool{Name: "p", Created: at(0), Ranges: []string{"192.0.2.10-192.0.2.11"}, Auto: true}
}

func service(name string, change ...func(*Service)) Service {
	s := Service{Namespace: "d", Name: name, Created: at(1), IPv4: true, Ports: []Port{{"TCP", 80}}}
	for _, c := range change {
		c(&s)
	}
	return s
}

func has(list ...string) func(*Service)   { return func(s *Service) { s.Has = addrs(list...) } }
func asks(list ...string) func(*Service)  { return func(s *Service) { s.Requested = list } }
func shares(key string) func(*Service)    { return func(s *Service) { s.SharingKey = key } }
func port(n uint16) func(*Service)        { return func(s *Service) { s.Ports = []Port{{"TCP", n}} } }
func local(s *Service)                    { s.Local = true }
func dual(s *Service)                     { s.IPv6 = true }
func born(n int) func(*Service)           { return func(s *Service) { s.Created = at(n) } }
func of(pool string) func(*Service)       { return func(s *Service) { s.Pool = pool } }
func optional(family int) func(*Service)  { return func(s *Service) { s.Optional = family } }
func labelled(k, v string) func(*Service) { return func(s *Service) { s.Labels = labels.Set{k: v} } }

func render(r Result) string {
	var b strings.Builder
	for _, name := range []string{"a", "b", "c"} {
		if got, ok := r.Services["d/"+name]; ok {
			fmt.Fprintf(&b, "%s=%v", name, got.Addresses)
			if got.Problem != nil {
				fmt.Fprintf(&b, "!%s", got.Problem.Reason)
			}
			b.WriteByte(' ')
		}
	}
	return strings.TrimSpace(b.String())
}

func TestWhoGetsWhat(t *testing.T) {
	pool6 := Pool{Name: "six", Created: at(0), Ranges: []string{"2001:db8::/127"}, Auto: true}
	manual := pool4()
	manual.Auto = false
	selective := pool4()
	selective.Selector = labels.SelectorFromSet(labels.Set{"tier": "edge"})
	fenced := pool4()
	fenced.Namespaces = []string{"other"}
	for _, c := range []struct {
		name     string
		pools    []Pool
		services []Service
		want     string
	}{
		{"the older first, of equals by name", []Pool{pool4()}, []Service{service("b"), service("c", born(0)), service("a")},
			"a=[192.0.2.11] b=[]!AddressesExhausted c=[192.0.2.10]"},
		{"what is had is kept, whoever is older", []Pool{pool4()}, []Service{service("a", born(0)), service("b", born(9), has("192.0.2.10"))},
			"a=[192.0.2.11] b=[192.0.2.10]"},
		{"of two that have the same, the older keeps it", []Pool{pool4()}, []Service{service("a", born(9), has("192.0.2.10")), service("b", has("192.0.2.10"))},
			"a=[192.0.2.11] b=[192.0.2.10]"},
		{"what is in no pool goes", []Pool{pool4()}, []Service{service("a", has("198.51.100.1"))}, "a=[192.0.2.10]"},
		{"no pool", nil, []Service{service("a", has("192.0.2.10"))}, "a=[]!NoAddressPool"},
		{"an address that is asked for", []Pool{pool4()}, []Service{service("a"), service("b", asks("192.0.2.10"))}, "a=[192.0.2.11] b=[192.0.2.10]"},
		{"asking gives up what one has", []Pool{pool4()}, []Service{service("a", has("192.0.2.10"), asks("192.0.2.11"))}, "a=[192.0.2.11]"},
		{"asking for another's", []Pool{pool4()}, []Service{service("a", has("192.0.2.10")), service("b", asks("192.0.2.10"))},
			"a=[192.0.2.10] b=[]!AddressTaken"},
		{"asking for what no pool has", []Pool{pool4()}, []Service{service("a", asks("198.51.100.1"))}, "a=[]!RequestInvalid"},
		{"asking for no address", []Pool{pool4()}, []Service{service("a", asks("here"))}, "a=[]!RequestInvalid"},
		{"asking for a family that is not wanted", []Pool{pool6}, []Service{service("a", asks("2001:db8::1"))}, "a=[]!RequestInvalid"},
		{"asking for two of a family", []Pool{pool4()}, []Service{service("a", asks("192.0.2.10", "192.0.2.11"))}, "a=[192.0.2.10]!RequestInvalid"},
		{"both families", []Pool{pool4(), pool6}, []Service{service("a", dual)}, "a=[192.0.2.10 2001:db8::]"},
		{"a family that no pool has", []Pool{pool4()}, []Service{service("a", dual)}, "a=[192.0.2.10]!NoAddressPool"},
		{"a family that may be missing", []Pool{pool4()}, []Service{service("a", dual, optional(6))}, "a=[192.0.2.10]"},
		{"a family that is not wanted any more goes", []Pool{pool4(), pool6}, []Service{service("a", has("192.0.2.10", "2001:db8::"))}, "a=[192.0.2.10]"},
		{"sharing", []Pool{pool4()}, []Service{service("a", shares("k")), service("b", shares("k"), port(81))}, "a=[192.0.2.10] b=[192.0.2.10]"},
		{"sharing what was had before", []Pool{pool4()}, []Service{service("a", shares("k")), service("b", shares("k"), port(81), has("192.0.2.11"))},
			"a=[192.0.2.11] b=[192.0.2.11]"},
		{"sharing and the same port", []Pool{pool4()}, []Service{service("a", shares("k")), service("b", shares("k"))}, "a=[192.0.2.10] b=[192.0.2.11]"},
		{"sharing with another key", []Pool{pool4()}, []Service{service("a", shares("k")), service("b", shares("l"), port(81))},
			"a=[192.0.2.10] b=[192.0.2.11]"},
		{"sharing and Local", []Pool{pool4()}, []Service{service("a", shares("k"), local), service("b", shares("k"), port(81))},
			"a=[192.0.2.10] b=[192.0.2.11]"},
		{"what was shared and may not be any more", []Pool{pool4()},
			[]Service{service("a", has("192.0.2.10"), shares("k")), service("b", has("192.0.2.10"), port(81))}, "a=[192.0.2.10] b=[192.0.2.11]"},
		{"not by itself", []Pool{manual}, []Service{service("a")}, "a=[]!NoAddressPool"},
		{"not by itself, but named", []Pool{manual}, []Service{service("a", of("p"))}, "a=[192.0.2.10]"},
		{"not by itself, but asked for", []Pool{manual}, []Service{service("a", asks("192.0.2.11"))}, "a=[192.0.2.11]"},
		{"a pool that is not there", []Pool{pool4()}, []Service{service("a", of("q"))}, "a=[]!NoAddressPool"},
		{"labels", []Pool{selective}, []Service{service("a"), service("b", labelled("tier", "edge"))}, "a=[]!NoAddressPool b=[192.0.2.10]"},
		{"namespaces", []Pool{fenced}, []Service{service("a", has("192.0.2.10"))}, "a=[]!NoAddressPool"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := render(Allocate(c.pools, c.services, nil)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestNothingMoves gives every Service what the last decision gave it: however the input
// is ordered and whoever comes and goes, the others keep theirs.
func TestNothingMoves(t *testing.T) {
	pools := []Pool{{Name: "p", Created: at(0), Ranges: []string{"192.0.2.0/26"}, Auto: true}}
	var services []Service
	for i := range 60 {
		services = append(services, service(fmt.Sprint("s", i), born(i%7)))
	}
	before := Allocate(pools, services, nil)
	for i := range services {
		services[i].Has = before.Services[services[i].Key()].Addresses
	}
	removed := services[17].Key()
	services = append(append([]Service{service("new", born(-5))}, services[18:]...), services[:17]...)
	after := Allocate(pools, services, nil)
	for key, was := range before.Services {
		if now := after.Services[key]; key != removed && fmt.Sprint(now) != fmt.Sprint(was) {
			t.Errorf("%s had %v and now has %v", key, was, now)
		}
	}
	if got := after.Services["d/new"]; len(got.Addresses) != 1 {
		t.Errorf("the new one got %+v", got)
	}
}

func TestPools(t *testing.T) {
	node := Taken{netip.MustParsePrefix("192.0.2.10/32"), "node n1's address"}
	pods := Taken{netip.MustParsePrefix("192.0.0.0/16"), "a range of pods"}
	twin := pool4()
	twin.Name, twin.Created = "q", at(5)
	for _, c := range []struct {
		name    string
		pools   []Pool
		taken   []Taken
		service Service
		of      string
		reason  string
		counts  Counts
		want    string
	}{
		{"good", []Pool{pool4()}, nil, service("a"), "p", "", Counts{2, 1, 1}, "a=[192.0.2.10]"},
		{"a node's address is left out", []Pool{pool4()}, []Taken{node}, service("a", has("192.0.2.10")), "p",
			v1alpha1.ReasonPoolCollides, Counts{1, 1, 0}, "a=[192.0.2.11]"},
		{"overlapping holes count once", []Pool{pool4()}, []Taken{node, pods}, service("a"), "p",
			v1alpha1.ReasonPoolCollides, Counts{}, "a=[]!AddressesExhausted"},
		{"the younger of two", []Pool{twin, pool4()}, nil, service("a", of("q")), "q", v1alpha1.ReasonPoolOverlaps, Counts{2, 0, 0}, "a=[]!NoAddressPool"},
		{"the younger keeps what it gave", []Pool{twin, {Name: "p", Created: at(0), Ranges: []string{"192.0.2.11"}, Auto: true}}, nil,
			service("a", has("192.0.2.10")), "q", v1alpha1.ReasonPoolOverlaps, Counts{2, 1, 0}, "a=[192.0.2.10]"},
		{"no address", []Pool{{Name: "p", Ranges: []string{"x"}, Auto: true}}, nil, service("a"), "p", v1alpha1.ReasonPoolInvalid, Counts{}, "a=[]!NoAddressPool"},
		{"twice the same", []Pool{{Name: "p", Ranges: []string{"192.0.2.0/30", "192.0.2.3"}, Auto: true}}, nil, service("a"), "p",
			v1alpha1.ReasonPoolInvalid, Counts{4, 0, 0}, "a=[]!NoAddressPool"},
		{"multicast", []Pool{{Name: "p", Ranges: []string{"239.0.0.1"}, Auto: true}}, nil, service("a"), "p", v1alpha1.ReasonPoolInvalid, Counts{1, 0, 0}, "a=[]!NoAddressPool"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Allocate(c.pools, []Service{c.service}, c.taken)
			if got := render(r); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			p := r.Pools[c.of]
			if p.IPv4 != c.counts {
				t.Errorf("counts %+v, want %+v", p.IPv4, c.counts)
			}
			reason := ""
			if p.Accepted != nil {
				reason = p.Accepted.Reason
				if !strings.Contains(p.Accepted.Message, "AddressPool "+c.of) || !strings.Contains(p.Accepted.Message, "spec.addresses") {
					t.Errorf("%q does not name the object and the field", p.Accepted.Message)
				}
			}
			if reason != c.reason {
				t.Errorf("reason %q, want %q", reason, c.reason)
			}
		})
	}
}

func TestAHugePoolIsNoWork(t *testing.T) {
	p := Pool{Name: "p", Ranges: []string{"2001:db8::/32"}, Auto: true}
	s := service("a", dual)
	s.IPv4 = false
	r := Allocate([]Pool{p}, []Service{s}, []Taken{{netip.MustParsePrefix("2001:db8::/48"), "a range of pods"}})
	if got := r.Pools["p"].IPv6; got != (Counts{math.MaxInt64, 1, math.MaxInt64}) {
		t.Errorf("counts %+v", got)
	}
	if got := render(r); got != "a=[2001:db8:1::]" {
		t.Errorf("got %s", got)
	}
}

func TestExhaustedPoolSaysWhoWaits(t *testing.T) {
	r := Allocate([]Pool{pool4()}, []Service{service("a"), service("b"), service("c")}, nil)
	if got := r.Pools["p"].Waiting; fmt.Sprint(got) != "[d/c]" {
		t.Errorf("waiting: %v", got)
	}
}
