// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"
)

// place is this node on all of its segments.
type place struct {
	log       *slog.Logger
	devicesOf func([]netip.Addr) ([]string, error)
	broken    chan<- struct{}
	segments  map[string]*segment // by device
	where     map[netip.Addr][]string
	held      map[netip.Addr]*holding
	told      map[string]bool // faults that were logged
}

// holding is an address that this node announces.
type holding struct {
	since time.Time
	told  int // how many of repeats are over
}

func newPlace(cfg Config, broken chan<- struct{}) *place {
	return &place{
		log: cfg.Log, devicesOf: cfg.DevicesOf, broken: broken, segments: map[string]*segment{},
		where: map[netip.Addr][]string{}, held: map[netip.Addr]*holding{}, told: map[string]bool{},
	}
}

// damaged says whether a segment has to be opened again.
func (p *place) damaged(broken <-chan struct{}) bool {
	select {
	case <-broken:
		return true
	default:
		return false
	}
}

// follow opens the segments that items need, and returns the addresses that cannot be
// announced here.
func (p *place) follow(items []Item, own []netip.Addr) map[netip.Addr]bool {
	refused := map[netip.Addr]bool{}
	if len(items) == 0 && len(p.segments) == 0 {
		return refused
	}
	now := map[string]bool{}
	devices, err := net.Interfaces()
	if err != nil {
		p.fault(now, fmt.Errorf("the node's devices cannot be read: %w", err))
	}
	uplinks, err := p.devicesOf(own)
	if err != nil {
		p.fault(now, fmt.Errorf("the node's addresses cannot be read: %w", err))
	}
	opened := map[string]error{}
	where := make(map[netip.Addr][]string, len(items))
	for _, it := range items {
		names := it.Interfaces
		if len(names) == 0 {
			names = uplinks
		}
		for _, name := range names {
			if _, tried := opened[name]; !tried {
				opened[name] = p.open(name, devices)
			}
			if err := opened[name]; err != nil {
				p.fault(now, fmt.Errorf("address %s: %w", it.Address, err))
				continue
			}
			where[it.Address] = append(where[it.Address], name)
		}
		if len(where[it.Address]) == 0 {
			refused[it.Address] = true
		}
	}
	p.told, p.where = now, where
	for name, s := range p.segments {
		if err, wanted := opened[name]; !wanted || err != nil {
			s.close()
			delete(p.segments, name)
		}
	}
	return refused
}

// open makes sure of a device's segment.
func (p *place) open(name string, devices []net.Interface) error {
	i := slices.IndexFunc(devices, func(d net.Interface) bool { return d.Name == name })
	if i < 0 {
		return fmt.Errorf("this node has no device %s: correct spec.announce.interfaces or spec.announce.nodeSelector of the AddressPool", name)
	}
	dev := &devices[i]
	if s := p.segments[name]; s != nil {
		if s.usable() && s.index == dev.Index && slices.Equal(s.mac[:], dev.HardwareAddr) {
			return nil
		}
		s.close()
		delete(p.segments, name)
		clear(p.held) // all is told anew
	}
	if dev.Flags&net.FlagUp == 0 {
		return fmt.Errorf("device %s is down", name)
	}
	s, err := openSegment(dev, p.broken)
	if err == nil {
		p.segments[name] = s
	}
	return err
}

// fault logs what is wrong once, until it is gone.
func (p *place) fault(now map[string]bool, err error) {
	if text := err.Error(); !now[text] {
		now[text] = true
		if !p.told[text] {
			p.log.Warn("an address cannot be announced by this node", "error", err)
		}
	}
}

// hold makes exactly these addresses the ones that the node announces, and tells the
// segments of those that are new. It returns what is announced, and what cannot be.
func (p *place) hold(items []Item, now time.Time) (own, failed []netip.Addr) {
	wanted := make(map[netip.Addr]bool, len(items))
	for _, it := range items {
		wanted[it.Address] = true
	}
	for name, s := range p.segments {
		for _, a := range s.addresses() {
			if !wanted[a] || !slices.Contains(p.where[a], name) {
				p.check(s.release(a))
			}
		}
	}
	for a := range p.held {
		if !wanted[a] {
			delete(p.held, a)
			p.log.Info("another node announces an address now", "address", a)
		}
	}
	for _, it := range items {
		if p.announce(it.Address, now) {
			own = append(own, it.Address)
		} else {
			failed = append(failed, it.Address)
		}
	}
	return own, failed
}

// announce answers for an address on its devices, and says whether it does on one of them.
func (p *place) announce(a netip.Addr, now time.Time) bool {
	h := p.held[a]
	if h == nil {
		h = &holding{since: now}
		p.log.Info("announcing an address", "address", a, "devices", p.where[a])
	}
	var errs []error
	answering := 0
	due := h.told < len(repeats) && now.Sub(h.since) >= repeats[h.told]
	for _, name := range p.where[a] {
		s := p.segments[name]
		if err := s.hold(a); err != nil {
			errs = append(errs, err)
			continue
		}
		answering++
		if due {
			errs = append(errs, s.announce(a))
		}
	}
	if due {
		h.told++
	}
	p.held[a] = h
	p.check(errors.Join(errs...))
	return answering > 0
}

// again tells the segments anew of all addresses.
func (p *place) again(now time.Time) {
	for _, h := range p.held {
		*h = holding{since: now}
	}
}

// check logs a fault once, until the devices are looked at again.
func (p *place) check(err error) {
	if err != nil && !p.told[err.Error()] {
		p.told[err.Error()] = true
		p.log.Warn("an address is not announced as it should be", "error", err)
	}
}

func (p *place) close() {
	for name, s := range p.segments {
		s.close()
		delete(p.segments, name)
	}
}
