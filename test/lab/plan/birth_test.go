// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"net/netip"
	"strings"
	"testing"
)

func birth(index int, name string) Birth {
	return Birth{
		Name: name, Index: index, Kubernetes: "v1.34.4",
		PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.64.0.0/16"), netip.MustParsePrefix("fd00:64::/48")},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.164.16.0/20"), netip.MustParsePrefix("fd00:164::/112")},
		Nodes: []NodeBirth{
			{Name: name + "-" + strings.Repeat("x", 40), Number: firstNodeHost, Kubernetes: "v1.35.4"},
			{Name: name + "-" + strings.Repeat("y", 40), Number: maxNumber, Kubernetes: "v1.34.4"},
		},
	}
}

// Names that Cluster API gives are longer than what the kernel takes.
func TestBornMachinesHaveShortNamesOfTheirOwn(t *testing.T) {
	p := New(Settings{Dir: "/repo/.lab", Nodes: 2, Kubernetes: DefaultKubernetes}).With([]Birth{birth(1, "alpha"), birth(MaxBirths, "bravo")})
	seen := map[string]string{}
	claim := func(owner string, names ...string) {
		for _, n := range names {
			if other, ok := seen[n]; ok {
				t.Errorf("%s and %s share %s", owner, other, n)
			}
			seen[n] = owner
		}
	}
	for _, c := range p.Clusters {
		claim(c.Name, c.Bridge)
		for _, m := range append([]Machine{c.ControlPlane}, c.Nodes...) {
			claim(m.Name, m.Cable, m.Netns, m.Cgroup, m.Dir, m.MAC, m.IPv4.String(), m.IPv6.String())
			if len(m.Cable) > 15 || len(c.Bridge) > 15 {
				t.Errorf("%s: %s at %s is too long for an interface", m.Name, m.Cable, c.Bridge)
			}
			if !c.NodeNetworks[0].Contains(m.IPv4) || !c.NodeNetworks[1].Contains(m.IPv6) {
				t.Errorf("%s is outside of its network", m.Name)
			}
		}
		for i, dns := range c.DNS {
			if !c.ServiceCIDRs[i].Contains(dns) {
				t.Errorf("%s: DNS address %s is no service address", c.Name, dns)
			}
		}
	}
	m, err := p.Machine("alpha-" + strings.Repeat("x", 40))
	if err != nil || m.Kubernetes != "v1.35.4" || m.ProviderID() != "lab://alpha/"+m.Name {
		t.Errorf("the node is %+v, %v", m, err)
	}
}

func TestThePlanHasTheBirthsOfNow(t *testing.T) {
	reserved := birth(3, "charlie")
	reserved.Kubernetes = "" // It has an index, and no control plane yet.
	static := New(Settings{Dir: "/a", Nodes: 1, Clusters: []string{"alpha"}})
	first := static.With([]Birth{birth(1, "bravo"), reserved})
	second := first.With([]Birth{birth(2, "delta")})
	for _, tc := range []struct {
		name string
		plan Plan
		want string
	}{
		{"before any", static, "hub alpha"},
		{"one that is born, one that is not yet", first, "hub alpha bravo"},
		{"another one in its place", second, "hub alpha delta"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := strings.Join(tc.plan.clusterNames(), " "); got != tc.want {
				t.Errorf("clusters %s; want %s", got, tc.want)
			}
		})
	}
}
