// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/balance"
)

// deafMaps refuse everything while refuse is set, and keep the last change that they took.
type deafMaps struct {
	refuse error
	took   *serviceRows
}

func (m *deafMaps) write(r *serviceRows) error {
	if m.refuse == nil {
		m.took = r
	}
	return m.refuse
}

func newServiceTable() *serviceTable {
	return &serviceTable{
		services: map[string]*realisedService{}, frontends: map[bpf.FrontendKey]ownedFrontend{}, losers: map[string]Service{},
		pools: balance.NewNumbers(1, 10, nil), backends: balance.NewNumbers(0, 10, nil), numbers: balance.NewNumbers(1, 10, nil),
		slots: balance.NewRanges(64, nil), room: 10, isPod: func(netip.Addr) bool { return true },
	}
}

// TestWhatTheKernelRefusedIsWrittenLater: a change that could not be written is not taken
// for one that was, whether or not it comes again.
func TestWhatTheKernelRefusedIsWrittenLater(t *testing.T) {
	web := Service{
		Name:         "shop/web",
		Frontends:    []Frontend{{Address: netip.MustParseAddr("10.96.0.7"), Port: 80, Protocol: TCP, Kind: FrontendExternal}},
		Pools:        []Pool{{Backends: []Backend{{Address: netip.MustParseAddr("10.1.0.2"), Port: 8080}}}},
		SourceRanges: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}
	table, maps := newServiceTable(), &deafMaps{refuse: errors.New("no memory")}
	if err := table.update(ServiceUpdate{Set: []Service{web}}, maps); err == nil || !strings.Contains(err.Error(), "no memory") {
		t.Fatalf("got error %v, want the kernel's", err)
	}
	maps.refuse = nil
	if err := table.update(ServiceUpdate{Set: []Service{web}}, maps); err != nil {
		t.Fatal(err)
	}
	if r := maps.took; len(r.frontends) != 1 || len(r.pools) != 1 || len(r.backends) != 1 || len(r.slots.slots) != 1 || len(r.ranges) != 1 {
		t.Errorf("written later: %+v, want all of the Service", r)
	}
	if err := table.update(ServiceUpdate{Set: []Service{web}}, maps); err != nil {
		t.Fatal(err)
	}
	if r := maps.took; len(r.frontends)+len(r.pools)+len(r.backends)+len(r.ranges) != 0 {
		t.Errorf("written once more: %+v, want nothing", r)
	}

	// Removed while the kernel refuses, and there again before it takes anything.
	maps.refuse = errors.New("no memory")
	if err := table.update(ServiceUpdate{Removed: []string{web.Name}}, maps); err == nil {
		t.Fatal("the kernel's error is lost")
	}
	maps.refuse = nil
	if err := table.update(ServiceUpdate{Set: []Service{web}}, maps); err != nil {
		t.Fatal(err)
	}
	if r := maps.took; len(r.frontends) != 1 || len(r.goneFrontends) != 0 || len(r.goneBackends) != 1 {
		t.Errorf("removed and set again: %+v", r)
	}
	if got := table.backends.Used(); got != 1 {
		t.Errorf("%d backends are in use, want 1", got)
	}
}
