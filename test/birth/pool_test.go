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
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// quarantine is longer than a test.
const quarantine = time.Hour

// pool is the FleetPool of both families, with room for 2,048 clusters.
func pool() *v1alpha1.FleetPool {
	use := func(name string, use v1alpha1.AddressUse, prefixes ...v1alpha1.Prefix) v1alpha1.FleetAddresses {
		return v1alpha1.FleetAddresses{Name: name, Use: use, Prefixes: prefixes}
	}
	return &v1alpha1.FleetPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "fleet"},
		Spec: v1alpha1.FleetPoolSpec{
			ClusterIDs: v1alpha1.ClusterIDRange{First: 1, Last: 4095},
			Pools: []v1alpha1.FleetAddresses{
				use("pods", v1alpha1.AddressesForPods, "10.0.0.0/9", "fd00:64::/40"),
				use("services", v1alpha1.AddressesForServices, "10.128.0.0/12", "fd00:65::/96"),
				use("load-balancers", v1alpha1.AddressesForLoadBalancers, "10.160.0.0/16"),
			},
			Classes: []v1alpha1.ClusterClassSizes{{
				Name: "any",
				Pods: v1alpha1.PrefixLengths{IPv4: 20, IPv6: 56}, Services: v1alpha1.PrefixLengths{IPv4: 24, IPv6: 112},
				LoadBalancers: v1alpha1.PrefixLengths{IPv4: 28},
			}},
			Quarantine: &metav1.Duration{Duration: quarantine},
		},
	}
}

// born is what a Cluster says that it was given.
type born struct {
	name, uid, id                 string
	pods, services, loadBalancers []string
}

// bornOf reads a Cluster; its id is empty as long as it has nothing.
func bornOf(c *clusterv1.Cluster) born {
	b := born{
		name: c.Name, uid: string(c.UID), id: c.Annotations[v1alpha1.AnnotationClusterID],
		pods: c.Spec.ClusterNetwork.Pods.CIDRBlocks, services: c.Spec.ClusterNetwork.Services.CIDRBlocks,
	}
	if text := c.Annotations[v1alpha1.AnnotationLoadBalancerRanges]; text != "" {
		b.loadBalancers = strings.Split(text, ",")
	}
	return b
}

func (b born) ranges() []string { return slices.Concat(b.pods, b.services, b.loadBalancers) }

// complete says what of both families is missing.
func (b born) complete() error {
	if b.id == "" || len(b.pods) != 2 || len(b.services) != 2 || len(b.loadBalancers) != 1 {
		return fmt.Errorf("cluster %s has number %q and %v: want a number, two ranges for pods, two for Services, one for load balancers", b.name, b.id, b.ranges())
	}
	return nil
}

// clusters are all Clusters there are.
func (h *hub) clusters() []clusterv1.Cluster {
	h.t.Helper()
	var list clusterv1.ClusterList
	h.must(h.client.List(h.t.Context(), &list, client.InNamespace(namespace)))
	return list.Items
}

// disjoint insists that each Cluster has all it is to have, that no two share a number or an
// address, and that the FleetPool says the same of them. It returns them by name.
func (h *hub) disjoint() map[string]born {
	h.t.Helper()
	out := map[string]born{}
	numbers := map[string]string{}
	type owned struct {
		prefix netip.Prefix
		owner  string
	}
	var all []owned
	for _, c := range h.clusters() {
		b := bornOf(&c)
		if err := b.complete(); err != nil {
			h.t.Error(err)
			continue
		}
		out[b.name] = b
		if other := numbers[b.id]; other != "" {
			h.t.Errorf("clusters %s and %s both have number %s", other, b.name, b.id)
		}
		numbers[b.id] = b.name
		for _, text := range b.ranges() {
			p, err := netip.ParsePrefix(text)
			h.must(err)
			all = append(all, owned{p, b.name})
		}
	}
	// Prefixes that overlap contain one another, so that one follows the other in this order.
	slices.SortFunc(all, func(x, y owned) int {
		return cmp.Or(x.prefix.Addr().Compare(y.prefix.Addr()), cmp.Compare(x.prefix.Bits(), y.prefix.Bits()))
	})
	for i := 1; i < len(all); i++ {
		if all[i-1].prefix.Overlaps(all[i].prefix) {
			h.t.Errorf("clusters %s and %s have addresses in common: %s and %s", all[i-1].owner, all[i].owner, all[i-1].prefix, all[i].prefix)
		}
	}
	h.recorded(out)
	return out
}

// recorded insists that the FleetPool has what the Clusters say, and nothing that nobody has.
func (h *hub) recorded(clusters map[string]born) {
	h.t.Helper()
	held := 0
	for _, x := range h.holdings() {
		if x.Freed != nil {
			continue
		}
		held++
		b := clusters[x.Cluster]
		if b.uid != x.UID || b.id != fmt.Sprint(x.ID) || !slices.Equal(b.ranges(), slices.Concat(x.Pods, x.Services, x.LoadBalancers)) {
			h.t.Errorf("the FleetPool has number %d and %v for cluster %s, which says %q and %v",
				x.ID, slices.Concat(x.Pods, x.Services, x.LoadBalancers), x.Cluster, b.id, b.ranges())
		}
	}
	if held != len(clusters) {
		h.t.Errorf("the FleetPool has what %d clusters hold; there are %d", held, len(clusters))
	}
}

func (h *hub) holdings() []v1alpha1.Holding {
	h.t.Helper()
	p := &v1alpha1.FleetPool{}
	h.must(h.client.Get(h.t.Context(), client.ObjectKey{Namespace: namespace, Name: "fleet"}, p))
	return p.Status.Holdings
}
