// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/fairlead-io/fairlead/internal/datapath"
)

// updateServices applies a change and returns the error.
func (n *node) updateServices(u datapath.ServiceUpdate) error {
	return n.dp.UpdateServices(context.Background(), u)
}

// TestAddressOfTwoServices: who has an address and port keeps it, the other is told so, and gets it
// when the first goes.
func TestAddressOfTwoServices(t *testing.T) {
	w := newShapedWorld(t, 1, shape{services: true})
	one := w.nodes[0]
	a, b := one.addPod(), one.addPod()
	client := one.socketClient(t, a.space)
	first, second := netip.AddrPortFrom(b.ip("IPv4"), 7200), netip.AddrPortFrom(b.ip("IPv4"), 7201)
	answerAs(t, b.space, first, "first")
	answerAs(t, b.space, second, "second")
	at, own := netip.AddrPortFrom(serviceIP("IPv4", 1), 80), netip.AddrPortFrom(serviceIP("IPv4", 2), 80)
	loser := clusterIP("default/second", at, second)
	loser.Frontends = append(loser.Frontends, clusterIP("", own).Frontends...)
	must(t, one.updateServices(datapath.ServiceUpdate{Set: []datapath.Service{clusterIP("default/first", at, first)}, Complete: true}))
	err := one.updateServices(datapath.ServiceUpdate{Set: []datapath.Service{loser}})
	wantWords(t, err, "Service default/second", "TCP", "UDP", "port 80", at.Addr().String(), "Service default/first", "change one of them")
	expect(t, client, at, false, "first")
	expect(t, client, own, false, "second") // what is in nobody's way is in force
	must(t, one.updateServices(datapath.ServiceUpdate{Removed: []string{"default/first"}}))
	expect(t, client, at, false, "second")
	expect(t, client, own, false, "second")
}

// TestNoRoomForServices: a Service that does not fit into a map is named, with the setting to be raised;
// others go on, and what is removed makes room.
func TestNoRoomForServices(t *testing.T) {
	const least = datapath.MinServiceEntries
	for _, c := range []struct {
		name                string
		frontends, backends int
		others              int // Services that fill the map
		ofOne               int // backends that each of them has
		words               []string
	}{
		{"frontends", least, 4 * least, least/2 - 1, 1, []string{"1024 of 1024", "spec.cni.services.frontends", "--service-frontends"}},
		{"backends", 4 * least, least, least/4 - 1, 4, []string{"4 endpoints", "spec.cni.services.backends", "--service-backends"}},
		{"slots", 4 * least, least, 127, 7, []string{"7 endpoints", "spec.cni.services.backends", "--service-backends"}}, // 128 for each pool
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newShapedWorld(t, 1, shape{services: true})
			one := w.nodes[0]
			must(t, one.dp.Close())
			one.opts.ServiceFrontends, one.opts.ServiceBackends = c.frontends, c.backends
			one.open()
			one.syncPeers(t)
			a, b := one.addPod(), one.addPod()
			client := one.socketClient(t, a.space)
			backends := make([]netip.AddrPort, c.ofOne)
			for i := range backends {
				backends[i] = netip.AddrPortFrom(b.ip("IPv4"), 7200+uint16(i))
				answerAs(t, b.space, backends[i], "here")
			}
			first := netip.AddrPortFrom(serviceIP("IPv4", 1), 80)
			all := []datapath.Service{clusterIP("default/first", first, backends...)}
			for i := range c.others {
				all = append(all, clusterIP(fmt.Sprintf("default/other-%d", i), netip.AddrPortFrom(nobody(i), 80), backends...))
			}
			one.setServices(t, all...)
			at := netip.AddrPortFrom(serviceIP("IPv4", 2), 80)
			last := clusterIP("default/last", at, backends...)
			err := one.updateServices(datapath.ServiceUpdate{Set: []datapath.Service{last}})
			wantWords(t, err, append(c.words, "Service default/last", "no room")...)
			expect(t, client, first, false, "here")
			must(t, one.updateServices(datapath.ServiceUpdate{Removed: []string{"default/other-0"}}))
			must(t, one.updateServices(datapath.ServiceUpdate{Set: []datapath.Service{last}}))
			expect(t, client, at, false, "here")
			expect(t, client, first, false, "here")
		})
	}
}
