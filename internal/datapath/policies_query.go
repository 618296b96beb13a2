// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/fairlead-io/fairlead/bpf"
)

// PolicyVerdict reads what the kernel's rows say of a connection, as policy.h does. It is not
// about connections that are established, whose answers pass in any case.
func (d *Datapath) PolicyVerdict(ctx context.Context, q PolicyQuery) (PolicyVerdict, error) {
	var v PolicyVerdict
	err := d.locked(ctx, func() (err error) {
		if !d.opts.Policies {
			v.Allow = true
			return nil
		}
		v, err = d.policyVerdict(q)
		return err
	})
	return v, err
}

func (d *Datapath) policyVerdict(q PolicyQuery) (PolicyVerdict, error) {
	var row bpf.Endpoint
	if err := d.maps.Endpoints.Lookup(bpf.AddressOf(q.Pod), &row); err != nil {
		return PolicyVerdict{}, fmt.Errorf("address %s is of no pod of this node: %w", q.Pod, err)
	}
	v := PolicyVerdict{Ruleset: RulesetID(row.Egress)}
	if q.Direction == Ingress {
		v.Ruleset = RulesetID(row.Ingress)
	}
	if v.Policed = v.Ruleset != 0; !v.Policed {
		v.Allow = true
		return v, nil
	}
	class, _, err := lookup[bpf.Class](d.maps.Classes, bpf.RangeKey{Prefixlen: 128, Address: bpf.AddressOf(q.Peer)})
	if err != nil {
		return v, err
	}
	v.Class = ClassID(class.Id)
	key := bpf.PolicyKey{Ruleset: uint64(v.Ruleset), Class: class.Id}
	policy, ok, err := lookup[bpf.Policy](d.maps.Policies, key)
	if err == nil && !ok {
		key.Class = 0
		policy, ok, err = lookup[bpf.Policy](d.maps.Policies, key)
	}
	if err != nil || !ok {
		return v, err
	}
	v.Table = PortTableID(policy.Ports)
	verdict, _, err := lookup[bpf.Verdict](d.maps.Ports, bpf.PortKeyOf(policy.Ports, q.Protocol, q.Port, bpf.OnePort))
	v.Allow, v.Cause = verdict.Allow != 0, CauseID(verdict.Cause)
	return v, err
}

// lookup reads a row; false: there is none.
func lookup[V any](m *ebpf.Map, key any) (v V, ok bool, err error) {
	err = m.Lookup(key, &v)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return v, false, nil
	}
	return v, err == nil, err
}
