// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

func pool(t *testing.T, prefixes ...string) *Pool {
	t.Helper()
	var ps []netip.Prefix
	for _, s := range prefixes {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	p, err := New(ps)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEveryAddressIsAssignedOnceAndThenTheRangeIsExhausted(t *testing.T) {
	p := pool(t, "10.1.1.0/28", "fd00:1::/124")
	seen := map[netip.Addr]bool{}
	for i := range 13 {
		addrs, err := p.Allocate(fmt.Sprint("pod", i))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			if seen[a] {
				t.Fatalf("%s assigned twice", a)
			}
			seen[a] = true
		}
	}
	for _, never := range []string{"10.1.1.0", "10.1.1.1", "10.1.1.15", "fd00:1::", "fd00:1::1"} {
		if seen[netip.MustParseAddr(never)] {
			t.Errorf("%s is not for pods", never)
		}
	}
	_, err := p.Allocate("one too many")
	var full *ExhaustedError
	if !errors.As(err, &full) || full.Used != 13 || full.Prefix.String() != "10.1.1.0/28" {
		t.Fatalf("got %v, want the IPv4 range exhausted with 13 in use", err)
	}
	if used := p.Usage()[1].Used; used != 13 {
		t.Errorf("a failed allocation left %v IPv6 addresses in use, want 13", used)
	}
	p.Release("pod3")
	if _, err := p.Allocate("one too many"); err != nil {
		t.Errorf("an address was released: %v", err)
	}
}

func TestAReleasedAddressWaitsItsTurn(t *testing.T) {
	p := pool(t, "10.1.1.0/28")
	first, _ := p.Allocate("a")
	p.Release("a")
	for i := range 12 {
		owner := fmt.Sprint(i)
		next, err := p.Allocate(owner)
		if err != nil {
			t.Fatal(err)
		}
		if next[0] == first[0] {
			t.Fatalf("%s came back after %d allocations, want all 12 others first", next[0], i)
		}
		p.Release(owner)
	}
}

func TestClaimAfterARestart(t *testing.T) {
	p := pool(t, "10.1.1.0/29")
	a := netip.MustParseAddr("10.1.1.3")
	if err := p.Claim("old", []netip.Addr{a}); err != nil {
		t.Fatal(err)
	}
	if err := p.Claim("thief", []netip.Addr{a}); err == nil || !strings.Contains(err.Error(), "in use by old") {
		t.Errorf("got %v, want the owner named", err)
	}
	for i := range 4 {
		got, err := p.Allocate(fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if got[0] == a {
			t.Fatal("a claimed address was assigned")
		}
	}
	if _, err := p.Allocate("five"); err == nil {
		t.Error("the range should be exhausted")
	}
	if err := p.Claim("moved", []netip.Addr{netip.MustParseAddr("10.9.9.9")}); err != nil {
		t.Errorf("an address of an earlier range: %v", err)
	}
	p.Release("moved")
	p.Release("never heard of")
}

func TestAnOwnerIsServedOnce(t *testing.T) {
	p := pool(t, "10.1.1.0/24")
	if _, err := p.Allocate("x"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Allocate("x"); err == nil {
		t.Error("a second allocation for the same owner must fail")
	}
}

func TestRangesThatCannotServe(t *testing.T) {
	for _, s := range []string{"10.1.1.0/31", "10.1.1.1/32", "fd00::/127"} {
		if _, err := New([]netip.Prefix{netip.MustParsePrefix(s)}); err == nil || !strings.Contains(err.Error(), "too small") {
			t.Errorf("%s: got %v, want too small", s, err)
		}
	}
	empty := pool(t)
	if _, err := empty.Allocate("x"); err == nil {
		t.Error("a node without ranges cannot assign")
	}
}

func TestConcurrentPodsNeverShareAnAddress(t *testing.T) {
	p := pool(t, "10.1.0.0/20", "fd00:1::/64")
	var mu sync.Mutex
	inUse := map[netip.Addr]string{}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 500 {
				owner := fmt.Sprintf("%d-%d", w, i)
				addrs, err := p.Allocate(owner)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, a := range addrs {
					if by, ok := inUse[a]; ok {
						t.Errorf("%s assigned to %s and %s", a, by, owner)
					}
					inUse[a] = owner
				}
				mu.Unlock()
				if i%3 == 0 {
					continue
				}
				mu.Lock()
				for _, a := range addrs {
					delete(inUse, a)
				}
				mu.Unlock()
				p.Release(owner)
			}
		})
	}
	wg.Wait()
}
