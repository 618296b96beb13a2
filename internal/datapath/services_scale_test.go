// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// manyServices are Services of one frontend and some backends each.
func manyServices(services, backends int) []datapath.Service {
	all := make([]datapath.Service, services)
	next := addr("10.128.0.1")
	for i := range all {
		s := datapath.Service{Name: fmt.Sprintf("default/service-%d", i), Pools: []datapath.Pool{{}}}
		for range backends {
			s.Pools[0].Backends = append(s.Pools[0].Backends, datapath.Backend{Address: next, Port: 8080})
			next = next.Next()
		}
		at := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
		s.Frontends = []datapath.Frontend{{Address: at, Port: 80, Protocol: datapath.TCP}}
		all[i] = s
	}
	return all
}

// TestServicesAtScale: 10,000 Services with 100,000 backends come into force within two
// seconds of a processor, a change writes few rows, and a restarted agent writes none.
func TestServicesAtScale(t *testing.T) {
	w := newShapedWorld(t, 1, shape{services: true})
	one := w.nodes[0]
	all := manyServices(10000, 10)
	update := func(what string, set []datapath.Service, complete bool, most int, within time.Duration) {
		t.Helper()
		began, used := time.Now(), cpuTime(t)
		rows, err := one.dp.UpdateServicesCounted(datapath.ServiceUpdate{Set: set, Complete: complete})
		// On a machine that has other work, what it takes is what the processors did for it.
		took := min(time.Since(began), cpuTime(t)-used)
		must(t, err)
		t.Logf("%s: %d rows in %s", what, rows, took.Round(10*time.Microsecond))
		if rows > most || took > within {
			t.Errorf("%s: %d rows in %s, at most %d in %s are wanted", what, rows, took, most, within)
		}
	}
	update("all", all, true, 10000*(10+128+1+1), 2*time.Second)
	changed := all[4711]
	changed.Pools = []datapath.Pool{{Backends: append([]datapath.Backend{{Address: addr("10.127.0.1"), Port: 8080}}, changed.Pools[0].Backends[:9]...)}}
	update("one backend of one Service", []datapath.Service{changed}, false, 2+128/10+128/4, 20*time.Millisecond)
	all[4711] = changed
	update("the same again", []datapath.Service{changed}, false, 0, 20*time.Millisecond)
	began := time.Now()
	must(t, one.dp.Close())
	one.open()
	t.Logf("opened again in %s", time.Since(began).Round(time.Millisecond))
	update("all, after a restart", all, true, 0, 2*time.Second)
	for _, u := range one.dp.ServiceUsage() {
		t.Logf("%s: %d of %d", u.Name, u.Used, u.Max)
	}
	update("none", nil, true, 10000*(10+1+1+1), 2*time.Second)
	for _, u := range one.dp.ServiceUsage() {
		if u.Used != 0 {
			t.Errorf("without Services %d of %d %s are used", u.Used, u.Max, u.Name)
		}
	}
}

// cpuTime is what this process has used of the processors.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	must(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
