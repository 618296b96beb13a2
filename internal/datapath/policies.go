// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath/load"
	"github.com/fairlead-io/fairlead/internal/datapath/table"
)

// policyTable is what the maps of policies hold, and what is yet to go.
type policyTable struct {
	classes  *table.Table[netip.Prefix, ClassID]
	policies *table.Table[RulesetClass, PortTableID]
	ports    *table.Table[bpf.PortKey, bpf.Verdict]

	keys map[PortTableID]map[bpf.PortKey]bpf.Verdict // of the tables of ports
	pods map[netip.Addr]PodPolicy
	// stale are addresses whose row has not followed yet.
	stale map[netip.Addr]bool
	// known: all there is was told, so that rows of an earlier run may go.
	known bool

	// What goes once nothing refers to it any more.
	goneTables   map[PortTableID]bool
	gonePolicies map[RulesetClass]bool
	goneClasses  map[netip.Prefix]bool
	narrower     bool // the epoch is yet to be raised
}

// openPolicies reads what an earlier run has left.
func openPolicies(maps *load.Maps) (*policyTable, error) {
	t := &policyTable{
		classes:  table.New("classes", classRows{maps.Classes}),
		policies: table.New("policies", tableRows{maps.Policies}),
		ports:    table.New("ports", portRows{maps.Ports}),
		keys:     map[PortTableID]map[bpf.PortKey]bpf.Verdict{}, pods: map[netip.Addr]PodPolicy{}, stale: map[netip.Addr]bool{},
		goneTables: map[PortTableID]bool{}, gonePolicies: map[RulesetClass]bool{}, goneClasses: map[netip.Prefix]bool{},
	}
	err := errors.Join(t.classes.Resync(), t.policies.Resync(), t.ports.Resync())
	former, _ := t.classes.Realised(anyIPv4)
	t.classes.SetDesired(anyIPv4, former)
	return t, err
}

// PolicySeed is a secret of this node for the digests that name rulesets, classes and tables
// of ports: nobody can aim at a name. It is the same after a restart of the agent.
func (d *Datapath) PolicySeed() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	var s bpf.State
	if err := d.maps.State.Lookup(uint32(0), &s); err != nil {
		return nil, fmt.Errorf("map fl_state: %w", err)
	}
	return binary.NativeEndian.AppendUint64(nil, s.Seed), nil
}

// UpdatePolicies brings a change of what is enforced into force. What is new is written before
// what refers to it, and what is old goes last, so that every packet meanwhile is judged by
// the former policies or by the new ones. After an error, which says what there is no room
// for, the former ones stay in force until a later update can be written whole.
func (d *Datapath) UpdatePolicies(ctx context.Context, u PolicyUpdate) error {
	return d.locked(ctx, func() error {
		if !d.opts.Policies {
			return errors.New("policies: this node enforces none (option Policies)")
		}
		d.policies.take(u)
		if u.Complete {
			for _, ep := range d.live {
				d.policies.setStale(ep.Addresses...)
			}
		}
		if err := d.policies.write(); err != nil {
			return err
		}
		before := d.rowChanges()
		for a := range d.policies.stale {
			d.setEndpointRow(a)
		}
		clear(d.policies.stale)
		if err := d.endpoints.Sync(); err != nil {
			return err
		}
		if d.policies.narrower || d.rowChanges() != before {
			if err := d.maps.NextEpoch(); err != nil {
				return err
			}
			d.policies.narrower = false
		}
		return errors.Join(d.policies.clear(), d.takeOver())
	})
}

// setEndpointRow gives the row of an endpoint, if there is one, the policies of its pod.
func (d *Datapath) setEndpointRow(a netip.Addr) {
	row, ok := d.endpoints.Get(a)
	if !ok {
		return
	}
	p := d.policyOf(a)
	row.Ingress, row.Egress = uint64(p.Ingress), uint64(p.Egress)
	d.endpoints.SetDesired(a, row)
}

// policyOf returns the policies of a pod's address. Before they are known, those that an
// earlier run has enforced stay.
func (d *Datapath) policyOf(a netip.Addr) PodPolicy {
	if !d.opts.Policies {
		return PodPolicy{}
	}
	if p, ok := d.policies.pods[a]; ok || d.policies.known {
		return p
	}
	row, _ := d.endpoints.Realised(a)
	return PodPolicy{RulesetID(row.Ingress), RulesetID(row.Egress)}
}

// take notes what is to be.
func (t *policyTable) take(u PolicyUpdate) {
	if u.Complete {
		t.forgetOthers(u)
	}
	for id, verdicts := range u.PortTables {
		t.keys[id] = portTable(id, verdicts)
		delete(t.goneTables, id)
		for k, v := range t.keys[id] {
			t.ports.SetDesired(k, v)
		}
	}
	for k, id := range u.Tables {
		t.policies.SetDesired(k, id)
		delete(t.gonePolicies, k)
	}
	for p, c := range u.Classes {
		t.classes.SetDesired(p, c)
		delete(t.goneClasses, p)
	}
	for a, p := range u.Pods {
		t.pods[a] = p
		t.setStale(a)
	}
	t.takeGone(u)
	for _, a := range u.GonePods {
		delete(t.pods, a)
		t.setStale(a)
	}
	t.narrower = t.narrower || u.Narrower || u.Complete
	t.known = t.known || u.Complete
}

func (t *policyTable) setStale(all ...netip.Addr) {
	for _, a := range all {
		t.stale[a] = true
	}
}

// takeGone notes what goes at last. What there was no room for until now goes at once: it would
// be in the way of what is left.
func (t *policyTable) takeGone(u PolicyUpdate) {
	for _, id := range u.GonePortTables {
		t.goneTables[id] = true
	}
	for _, k := range u.GoneTables {
		t.gonePolicies[k] = true
		if _, now := u.Tables[k]; !now {
			unsetUnlessRealised(t.policies, k)
		}
	}
	for _, p := range u.GoneClasses {
		t.goneClasses[p] = true
		if _, now := u.Classes[p]; !now {
			unsetUnlessRealised(t.classes, p)
		}
	}
}

func unsetUnlessRealised[K, V comparable](t *table.Table[K, V], k K) {
	if _, ok := t.Realised(k); !ok {
		t.Unset(k)
	}
}

// forgetOthers has everything go that a complete update does not have.
func (t *policyTable) forgetOthers(u PolicyUpdate) {
	for id := range t.keys {
		t.goneTables[id] = true
	}
	t.policies.Keep(func(k RulesetClass, _ PortTableID) bool {
		t.gonePolicies[k] = true
		return true
	})
	t.classes.Keep(func(p netip.Prefix, _ ClassID) bool {
		t.goneClasses[p] = true
		return true
	})
	for a := range t.pods {
		if _, stays := u.Pods[a]; !stays {
			delete(t.pods, a)
		}
	}
}

// write writes what is new, up to the first kind that there is no room for.
func (t *policyTable) write() error {
	if err := t.ports.Sync(); err != nil {
		return err
	}
	if err := t.policies.Sync(); err != nil {
		return err
	}
	return t.classes.Sync()
}

// clear removes what is gone, and what an earlier run has left once all there is is known.
func (t *policyTable) clear() error {
	for p := range t.goneClasses {
		if p == anyIPv4 {
			t.classes.SetDesired(p, 0)
		} else {
			t.classes.Unset(p)
		}
	}
	for k := range t.gonePolicies {
		t.policies.Unset(k)
	}
	for id := range t.goneTables {
		for k := range t.keys[id] {
			t.ports.Unset(k)
		}
		delete(t.keys, id)
	}
	clear(t.goneClasses)
	clear(t.gonePolicies)
	clear(t.goneTables)
	errs := []error{t.classes.Sync(), t.policies.Sync(), t.ports.Sync()}
	if t.known {
		errs = append(errs, t.classes.Prune(nil), t.policies.Prune(nil), t.ports.Prune(nil))
	}
	return errors.Join(errs...)
}

// PolicyUsage tells how full the maps of policies are.
func (d *Datapath) PolicyUsage() []Usage {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.opts.Policies || d.closed {
		return nil
	}
	return []Usage{
		{"classes", d.policies.classes.Rows(), int(d.maps.Classes.MaxEntries())},
		{"policies", d.policies.policies.Rows(), int(d.maps.Policies.MaxEntries())},
		{"ports", d.policies.ports.Rows(), int(d.maps.Ports.MaxEntries())},
	}
}
