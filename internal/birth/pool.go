// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/addressing"
)

// defaultQuarantine is how long what a cluster gave back rests.
const defaultQuarantine = time.Hour

// uses are the API's names of what addresses are for.
var uses = map[v1alpha1.AddressUse]addressing.Use{
	v1alpha1.AddressesForPods:          addressing.Pods,
	v1alpha1.AddressesForServices:      addressing.Services,
	v1alpha1.AddressesForLoadBalancers: addressing.LoadBalancers,
}

// UseName is the API's name of what addresses are for.
func UseName(u addressing.Use) v1alpha1.AddressUse {
	for name, use := range uses {
		if use == u {
			return name
		}
	}
	return ""
}

// Pool is a FleetPool that can be given from.
type Pool struct {
	Namespace, Name string
	Classes         []Class
	Quarantine      time.Duration

	pools []addressing.Pool
	ids   addressing.IDs
}

// Class says how large the ranges of some clusters are.
type Class struct {
	Name     string
	Sizes    addressing.Sizes
	selector labels.Selector
}

// PoolError is a FleetPool that nothing can be given from. Its message names the fields.
type PoolError struct {
	// Reason is one of the reasons of the condition Accepted.
	Reason  string
	message string
}

func (e *PoolError) Error() string { return e.message }

// ReadPool reads a FleetPool's spec, and checks it. others are all FleetPools: the oldest of a
// namespace counts, and no two of the fleet may have an address or a number in common. The error
// is a *PoolError.
func ReadPool(p *v1alpha1.FleetPool, others []v1alpha1.FleetPool) (*Pool, error) {
	pool, err := parsePool(p)
	if err != nil {
		return nil, &PoolError{Reason: v1alpha1.ReasonPoolInvalid, message: fmt.Sprintf("FleetPool %s/%s: %v", p.Namespace, p.Name, err)}
	}
	for i := range others {
		o := &others[i]
		if o.UID == p.UID || !o.DeletionTimestamp.IsZero() || !before(o, p) {
			continue
		}
		if o.Namespace == p.Namespace {
			return nil, &PoolError{Reason: v1alpha1.ReasonOtherFleetPool, message: fmt.Sprintf(
				"FleetPool %s of namespace %s is older and counts: move the pools there, or delete one of the two", o.Name, o.Namespace)}
		}
		other, err := parsePool(o)
		if err != nil {
			continue // it gives nothing
		}
		if common := pool.overlap(other); common != "" {
			return nil, &PoolError{Reason: v1alpha1.ReasonOtherFleetPool, message: fmt.Sprintf(
				"%s of FleetPool %s/%s are those of FleetPool %s/%s too, which is older: give each its own", common, p.Namespace, p.Name, o.Namespace, o.Name)}
		}
	}
	return pool, nil
}

// before orders FleetPools: the first of two counts.
func before(a, b *v1alpha1.FleetPool) bool {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name)) < 0
}

func parsePool(p *v1alpha1.FleetPool) (*Pool, error) {
	out := &Pool{
		Namespace: p.Namespace, Name: p.Name, Quarantine: defaultQuarantine,
		ids: addressing.IDs{First: uint32(p.Spec.ClusterIDs.First), Last: uint32(p.Spec.ClusterIDs.Last)},
	}
	if q := p.Spec.Quarantine; q != nil {
		out.Quarantine = q.Duration
	}
	if out.ids == (addressing.IDs{}) {
		out.ids = addressing.IDs{First: 1, Last: 4095}
	}
	for _, a := range p.Spec.Pools {
		one := addressing.Pool{Name: a.Name, Use: uses[a.Use]}
		var err error
		if one.Prefixes, err = prefixes(a.Prefixes); err != nil {
			return nil, fmt.Errorf("spec.pools[name=%s].prefixes: %w", a.Name, err)
		}
		if one.Reserved, err = prefixes(a.Reserved); err != nil {
			return nil, fmt.Errorf("spec.pools[name=%s].reserved: %w", a.Name, err)
		}
		out.pools = append(out.pools, one)
	}
	sizes := map[string]addressing.Sizes{}
	for i := range p.Spec.Classes {
		c := &p.Spec.Classes[i]
		selector, err := metav1.LabelSelectorAsSelector(&c.ClusterSelector)
		if err != nil {
			return nil, fmt.Errorf("spec.classes[name=%s].clusterSelector: %w", c.Name, err)
		}
		class := Class{Name: c.Name, selector: selector, Sizes: addressing.Sizes{
			addressing.Pods: bits(c.Pods), addressing.Services: bits(c.Services), addressing.LoadBalancers: bits(c.LoadBalancers),
		}}
		out.Classes = append(out.Classes, class)
		sizes[c.Name] = class.Sizes
	}
	return out, addressing.CheckPools(out.pools, out.ids, sizes)
}

// class is that of a Cluster with these labels, nil for none.
func (p *Pool) class(of map[string]string) *Class {
	for i := range p.Classes {
		if p.Classes[i].selector.Matches(labels.Set(of)) {
			return &p.Classes[i]
		}
	}
	return nil
}

// overlap says what two pools have in common, "" for nothing.
func (p *Pool) overlap(o *Pool) string {
	if p.ids.First <= o.ids.Last && o.ids.First <= p.ids.Last {
		return fmt.Sprintf("spec.clusterIDs %d to %d", p.ids.First, p.ids.Last)
	}
	for _, a := range p.pools {
		for _, b := range o.pools {
			for _, x := range a.Prefixes {
				if slices.ContainsFunc(b.Prefixes, x.Overlaps) {
					return fmt.Sprintf("%s of spec.pools[name=%s]", x, a.Name)
				}
			}
		}
	}
	return ""
}

func bits(l v1alpha1.PrefixLengths) addressing.Bits {
	return addressing.Bits{V4: int(l.IPv4), V6: int(l.IPv6)}
}

func prefixes(in []v1alpha1.Prefix) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, 0, len(in))
	for _, text := range in {
		p, err := netip.ParsePrefix(string(text))
		if err != nil {
			return nil, fmt.Errorf("%q is no prefix: write it as 10.64.0.0/12 or fd00:64::/32", text)
		}
		out = append(out, p)
	}
	return out, nil
}

// holdings are those of a FleetPool's status. What cannot be read is left out: nobody but
// Fairlead writes there, and the Cluster has what it holds itself.
func holdings(namespace string, in []v1alpha1.Holding) []addressing.Holding {
	out := make([]addressing.Holding, 0, len(in))
	for i := range in {
		h := &in[i]
		one := addressing.Holding{Cluster: namespace + "/" + h.Cluster, UID: h.UID, ID: uint32(h.ID), Since: h.Since.Time}
		if h.Freed != nil {
			one.Freed = h.Freed.Time
		}
		of := map[addressing.Use][]string{addressing.Pods: h.Pods, addressing.Services: h.Services, addressing.LoadBalancers: h.LoadBalancers}
		for _, use := range addressing.Uses {
			for _, text := range of[use] {
				if p, err := netip.ParsePrefix(text); err == nil {
					one.Ranges = append(one.Ranges, addressing.Range{Use: use, Prefix: p})
				}
			}
		}
		out = append(out, one)
	}
	return out
}

// statusHoldings are the holdings of a namespace's clusters, as a status has them.
func statusHoldings(namespace string, in []addressing.Holding) []v1alpha1.Holding {
	var out []v1alpha1.Holding
	for i := range in {
		h := &in[i]
		name, ours := strings.CutPrefix(h.Cluster, namespace+"/")
		if !ours {
			continue
		}
		one := v1alpha1.Holding{
			Cluster: name, UID: h.UID, ID: int32(h.ID), Since: metav1.NewTime(h.Since),
			Pods: texts(h.Of(addressing.Pods)), Services: texts(h.Of(addressing.Services)), LoadBalancers: texts(h.Of(addressing.LoadBalancers)),
		}
		if !h.Freed.IsZero() {
			freed := metav1.NewTime(h.Freed)
			one.Freed = &freed
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b v1alpha1.Holding) int {
		return cmp.Or(a.Since.Compare(b.Since.Time), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.UID, b.UID))
	})
	return out
}

func texts(in []netip.Prefix) []string {
	var out []string
	for _, p := range in {
		out = append(out, p.String())
	}
	return out
}
