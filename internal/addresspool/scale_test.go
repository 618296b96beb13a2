// SPDX-License-Identifier: Apache-2.0

package addresspool

import (
	"fmt"
	"testing"
)

// many are 10,000 Services that have their addresses.
func many() ([]Pool, []Service) {
	pools := []Pool{{Name: "p", Ranges: []string{"10.200.0.0/16"}, Auto: true}}
	services := make([]Service, 0, 10_000)
	for i := range 10_000 {
		services = append(services, service(fmt.Sprint("s", i), born(i)))
	}
	got := Allocate(pools, services, nil)
	for i := range services {
		services[i].Has = got.Services[services[i].Key()].Addresses
	}
	return pools, services
}

func BenchmarkAllocate(b *testing.B) {
	pools, services := many()
	for b.Loop() {
		Allocate(pools, services, nil)
	}
}

func BenchmarkAnnouncements(b *testing.B) {
	_, services := many()
	exposed := make([]Exposed, 0, len(services))
	for _, s := range services {
		exposed = append(exposed, Exposed{Addresses: s.Has})
	}
	ns := nodes(1000)
	for b.Loop() {
		Announcements([]Announcer{{Ranges: []string{"10.200.0.0/16"}}}, exposed, ns)
	}
}
