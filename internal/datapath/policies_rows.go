// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"math/bits"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/fairlead-io/fairlead/bpf"
)

// policyRemedy is what makes room in the maps of policies.
const policyRemedy = "raise spec.cni.policies.entries (agent flag --policy-entries), or select fewer pods by fewer policies"

// anyIPv4 is a row of its own, because IPv4 addresses are in the form of IPv6: a network of
// IPv6 that has all addresses would have those of IPv4 too.
var anyIPv4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// subjectRows is fl_subjects as the backend of a table.
type subjectRows struct{ m *ebpf.Map }

// Put implements table.Backend.
func (r subjectRows) Put(device uint32, s bpf.Subject) error {
	return put(r.m, bpf.FromPodMapFlSubjects, "remove pods from the node", device, s)
}

// Delete implements table.Backend.
func (r subjectRows) Delete(device uint32, _ bpf.Subject) error {
	return ignoreMissing(r.m.Delete(device))
}

// List implements table.Backend.
func (r subjectRows) List() (map[uint32]bpf.Subject, error) {
	out := map[uint32]bpf.Subject{}
	err := each(r.m, func(k uint32, v bpf.Subject) { out[k] = v })
	return out, err
}

// classRows is fl_classes as the backend of a table.
type classRows struct{ m *ebpf.Map }

// Put implements table.Backend.
func (r classRows) Put(p netip.Prefix, c ClassID) error {
	return put(r.m, bpf.FromPodMapFlClasses, policyRemedy, bpf.RangeKeyOf(p), bpf.Class{Id: uint64(c)})
}

// Delete implements table.Backend.
func (r classRows) Delete(p netip.Prefix, _ ClassID) error {
	return ignoreMissing(r.m.Delete(bpf.RangeKeyOf(p)))
}

// List implements table.Backend.
func (r classRows) List() (map[netip.Prefix]ClassID, error) {
	out := map[netip.Prefix]ClassID{}
	var k bpf.RangeKey
	var v bpf.Class
	rows := r.m.Iterate()
	for rows.Next(&k, &v) {
		out[bpf.Prefix(k)] = ClassID(v.Id)
	}
	return out, rows.Err()
}

// tableRows is fl_policies as the backend of a table.
type tableRows struct{ m *ebpf.Map }

func policyKey(k RulesetClass) bpf.PolicyKey {
	return bpf.PolicyKey{Ruleset: uint64(k.Ruleset), Class: uint64(k.Class)}
}

// Put implements table.Backend.
func (r tableRows) Put(k RulesetClass, t PortTableID) error {
	return put(r.m, bpf.FromPodMapFlPolicies, policyRemedy, policyKey(k), bpf.Policy{Ports: uint64(t)})
}

// Delete implements table.Backend.
func (r tableRows) Delete(k RulesetClass, _ PortTableID) error {
	return ignoreMissing(r.m.Delete(policyKey(k)))
}

// List implements table.Backend.
func (r tableRows) List() (map[RulesetClass]PortTableID, error) {
	out := map[RulesetClass]PortTableID{}
	err := each(r.m, func(k bpf.PolicyKey, v bpf.Policy) {
		out[RulesetClass{RulesetID(k.Ruleset), ClassID(k.Class)}] = PortTableID(v.Ports)
	})
	return out, err
}

// portRows is fl_ports as the backend of a table.
type portRows struct{ m *ebpf.Map }

// Put implements table.Backend.
func (r portRows) Put(k bpf.PortKey, v bpf.Verdict) error {
	return put(r.m, bpf.FromPodMapFlPorts, policyRemedy, k, v)
}

// Delete implements table.Backend.
func (r portRows) Delete(k bpf.PortKey, _ bpf.Verdict) error { return ignoreMissing(r.m.Delete(k)) }

// List implements table.Backend.
func (r portRows) List() (map[bpf.PortKey]bpf.Verdict, error) {
	out := map[bpf.PortKey]bpf.Verdict{}
	var k bpf.PortKey
	var v bpf.Verdict
	rows := r.m.Iterate()
	for rows.Next(&k, &v) {
		out[k] = v
	}
	return out, rows.Err()
}

// portTable returns the rows of a table of ports.
func portTable(id PortTableID, verdicts []PortVerdict) map[bpf.PortKey]bpf.Verdict {
	rows := make(map[bpf.PortKey]bpf.Verdict, len(verdicts))
	for _, v := range verdicts {
		row := bpf.Verdict{Cause: uint64(v.Cause)}
		if v.Allow {
			row.Allow = 1
		}
		if v.Protocol == 0 {
			rows[bpf.PortKeyOf(uint64(id), 0, 0, bpf.PortsOfTable)] = row
			continue
		}
		for first := uint32(v.First); first <= uint32(v.Last); {
			size := blockAt(first, uint32(v.Last))
			prefix := uint32(bpf.OnePort - bits.TrailingZeros32(size))
			rows[bpf.PortKeyOf(uint64(id), v.Protocol, uint16(first), prefix)] = row
			first += size
		}
	}
	return rows
}

// blockAt is the size of the largest block of ports that a prefix can stand for, which begins
// at first and ends at last or before.
func blockAt(first, last uint32) uint32 {
	size := uint32(1) << 16
	if first != 0 {
		size = first & -first
	}
	for size > last-first+1 {
		size >>= 1
	}
	return size
}
