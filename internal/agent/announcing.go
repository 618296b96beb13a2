// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-io/fairlead/internal/agent/announce"
	agentsync "github.com/fairlead-io/fairlead/internal/agent/sync"
	"github.com/fairlead-io/fairlead/internal/state"
)

// announcing gives the announcer its part of each update, beside the one that brings the
// node's state into force.
type announcing struct {
	agentsync.Handler
	announcer *announce.Announcer
}

// Apply implements agentsync.Handler. What is announced does not depend on whether the
// rest could be brought into force.
func (a announcing) Apply(ctx context.Context, u agentsync.Update) error {
	var err error
	if u.Known.Announcements && u.Known.Peers && u.LocalNode != nil {
		var s announce.State
		s, err = announcements(u)
		a.announcer.Set(s)
	}
	return errors.Join(err, a.Handler.Apply(ctx, u))
}

// announcements reads what an announcer follows. What cannot be read is left out and named
// in the error.
func announcements(u agentsync.Update) (announce.State, error) {
	s := announce.State{Peers: make(map[string][]netip.Addr, len(u.Peers))}
	var errs []error
	for name, p := range u.Peers {
		if name != u.LocalNode.GetName() {
			s.Peers[name] = addresses(p.GetAddresses())
		}
	}
	s.Addresses = addresses(u.LocalNode.GetAddresses())
	for name, a := range u.Announcements {
		addr, ok := netip.AddrFromSlice(a.GetAddress())
		if !ok || len(a.GetKey()) != 32 {
			errs = append(errs, fmt.Errorf("%s %q: its address or key has a wrong size; is the controller of another version?",
				state.ShortType(state.AnnouncementType), name))
			continue
		}
		s.Key = a.GetKey()
		s.Items = append(s.Items, announce.Item{Address: addr.Unmap(), Nodes: a.GetNodes(), Interfaces: a.GetInterfaces()})
	}
	slices.SortFunc(s.Items, func(a, b announce.Item) int { return a.Address.Compare(b.Address) })
	return s, errors.Join(errs...)
}

// addresses reads node addresses; package node tells of those that cannot be read.
func addresses(in []string) (out []netip.Addr) {
	for _, t := range in {
		if a, err := netip.ParseAddr(t); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// announcedGauge counts the addresses that the node announces.
func announcedGauge(a *announce.Announcer) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fairlead_agent_announced_addresses", Help: "Addresses of load balancers that this node announces.",
	}, func() float64 { return float64(len(a.Announced())) })
}
