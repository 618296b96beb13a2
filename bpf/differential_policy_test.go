// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/bpf/model"
)

// policyChange is a change of what pods may receive and send: exactly one of its fields is set.
// What it has no value for is removed.
type policyChange struct {
	Pod             netip.Addr
	Ingress, Egress uint64

	Of    netip.Prefix
	Class uint64

	Ruleset *bpf.PolicyKey
	Table   uint64

	Ports    uint64 // a table
	Verdicts []model.PortVerdict
}

// Names of rulesets, classes and tables are numbers that fill both halves of their keys.
func named(n int) uint64 { return uint64(n) * 0x1_0000_0001 }

var (
	// Addresses and networks that policies speak of.
	classed = append([]netip.Prefix{
		netip.MustParsePrefix("10.2.0.0/16"), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("fd00:2::/32"), netip.MustParsePrefix("fc00::/7"),
		netip.PrefixFrom(outside4, 32), netip.PrefixFrom(outside6, 128), netip.PrefixFrom(self4, 32),
	}, singles(slices.Concat(ownPods, farPods))...)
	// Blocks of ports that a prefix can stand for.
	portBlocks = [][2]uint16{{0, 65535}, {80, 80}, {443, 443}, {1000, 1001}, {0, 1023}, {40000, 40001}, {256, 511}}
)

func singles(all []netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range all {
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out
}

// policyChange makes one up. There are few names, so that they are often used.
func (d *differential) policyChange() *policyChange {
	ruleset := func() uint64 { return named(d.r.IntN(4)) }
	switch d.r.IntN(4) {
	case 0:
		pod := pickOf(d, ownPods)
		if _, ok := d.n.world.Endpoints[pod]; ok {
			return &policyChange{Pod: pod, Ingress: ruleset(), Egress: ruleset()}
		}
		fallthrough
	case 1:
		return &policyChange{Of: pickOf(d, classed), Class: named(d.r.IntN(4))}
	case 2:
		return &policyChange{Ruleset: &bpf.PolicyKey{Ruleset: named(1 + d.r.IntN(3)), Class: named(d.r.IntN(4))}, Table: named(d.r.IntN(5))}
	}
	c := &policyChange{Ports: named(1 + d.r.IntN(4))}
	if d.oneIn(2) {
		c.Verdicts = append(c.Verdicts, model.PortVerdict{Allow: d.oneIn(2)})
	}
	for _, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP} {
		block := pickOf(d, portBlocks)
		if !d.oneIn(4) {
			c.Verdicts = append(c.Verdicts, model.PortVerdict{Protocol: protocol, First: block[0], Last: block[1], Allow: !d.oneIn(3)})
		}
	}
	return c
}

// changePolicy makes a change on both sides.
func (n *node) changePolicy(c policyChange) error {
	w := n.world
	switch {
	case c.Pod.IsValid():
		ep, ok := w.Endpoints[c.Pod]
		if !ok {
			return nil
		}
		ep.Ingress, ep.Egress = c.Ingress, c.Egress
		w.Endpoints[c.Pod] = ep
		return n.putEndpoint(c.Pod, ep)
	case c.Of.IsValid() && c.Class != 0:
		w.Policies.Classes[c.Of] = c.Class
		return n.k.maps["fl_classes"].Put(bpf.RangeKeyOf(c.Of), bpf.Class{Id: c.Class})
	case c.Of.IsValid():
		delete(w.Policies.Classes, c.Of)
		return unlessMissing(n.k.maps["fl_classes"].Delete(bpf.RangeKeyOf(c.Of)))
	case c.Ruleset != nil && c.Table != 0:
		w.Policies.Tables[*c.Ruleset] = c.Table
		return n.k.maps["fl_policies"].Put(*c.Ruleset, bpf.Policy{Ports: c.Table})
	case c.Ruleset != nil:
		delete(w.Policies.Tables, *c.Ruleset)
		return unlessMissing(n.k.maps["fl_policies"].Delete(*c.Ruleset))
	}
	return n.changePorts(c)
}

func (n *node) changePorts(c policyChange) error {
	m := n.k.maps["fl_ports"]
	var errs []error
	for _, v := range n.world.Policies.Ports[c.Ports] {
		errs = append(errs, unlessMissing(m.Delete(portKey(c.Ports, v))))
	}
	n.world.Policies.Ports[c.Ports] = c.Verdicts
	for i, v := range c.Verdicts {
		row := bpf.Verdict{Cause: uint64(i)}
		if v.Allow {
			row.Allow = 1
		}
		errs = append(errs, m.Update(portKey(c.Ports, v), row, ebpf.UpdateAny))
	}
	return errors.Join(errs...)
}

// portKey is the key of one of portBlocks.
func portKey(table uint64, v model.PortVerdict) bpf.PortKey {
	if v.Protocol == 0 {
		return bpf.PortKeyOf(table, 0, 0, bpf.PortsOfTable)
	}
	bits := uint32(bpf.OnePort)
	for size := uint32(1); size < uint32(v.Last)-uint32(v.First)+1; size *= 2 {
		bits--
	}
	return bpf.PortKeyOf(table, v.Protocol, v.First, bits)
}
