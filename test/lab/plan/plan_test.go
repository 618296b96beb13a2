// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestFromEnv(t *testing.T) {
	defaults := Settings{Dir: "/repo/.lab", Nodes: 2, Clusters: []string{"alpha", "bravo"}, Kubernetes: DefaultKubernetes}
	with := func(change func(*Settings)) Settings { s := defaults; change(&s); return s }
	for _, tc := range []struct {
		name    string
		env     map[string]string
		want    Settings
		wantErr string // Part of the message; it names the setting.
	}{
		{name: "nothing set", want: defaults},
		{name: "relative folder", env: map[string]string{"LAB_DIR": "x/../y"}, want: with(func(s *Settings) { s.Dir = "/repo/y" })},
		{name: "absolute folders", env: map[string]string{"LAB_DIR": "/var/lab", "LAB_BIN": "/opt/bin"},
			want: with(func(s *Settings) { s.Dir, s.Bin = "/var/lab", "/opt/bin" })},
		{name: "commas between clusters", env: map[string]string{"LAB_CLUSTERS": "a,b2 c-3"},
			want: with(func(s *Settings) { s.Clusters = []string{"a", "b2", "c-3"} })},
		{name: "kube-proxy nowhere, said so", env: map[string]string{"LAB_KUBE_PROXY": "none"}, want: defaults},
		{name: "kube-proxy everywhere", env: map[string]string{"LAB_KUBE_PROXY": "all"},
			want: with(func(s *Settings) { s.KubeProxy = []string{"alpha", "bravo"} })},
		{name: "kube-proxy in one cluster", env: map[string]string{"LAB_KUBE_PROXY": "bravo"},
			want: with(func(s *Settings) { s.KubeProxy = []string{"bravo"} })},
		{name: "kube-proxy in a cluster that is not there", env: map[string]string{"LAB_KUBE_PROXY": "bravo charlie"}, wantErr: `LAB_KUBE_PROXY: "charlie"`},
		{name: "the hub only", env: map[string]string{"LAB_CLUSTERS": "none"}, want: with(func(s *Settings) { s.Clusters = nil })},
		{name: "Cluster API, and versions for it", env: map[string]string{"LAB_CLUSTERS": "none", "LAB_CAPI": "on", "LAB_KUBERNETES_ALSO": "v1.34.4, v1.34.3"},
			want: with(func(s *Settings) { s.Clusters, s.CAPI, s.Also = nil, true, []string{"v1.34.4", "v1.34.3"} })},
		{name: "Cluster API, said to be off", env: map[string]string{"LAB_CAPI": "off"}, want: defaults},
		{name: "Cluster API beside clusters of the lab", env: map[string]string{"LAB_CAPI": "on"}, wantErr: "LAB_CLUSTERS=none"},
		{name: "Cluster API, neither on nor off", env: map[string]string{"LAB_CAPI": "yes"}, wantErr: `LAB_CAPI="yes"`},
		{name: "another version without v", env: map[string]string{"LAB_KUBERNETES_ALSO": "1.34.4"}, wantErr: "LAB_KUBERNETES_ALSO"},
		{name: "nodes", env: map[string]string{"LAB_NODES": "100"}, want: with(func(s *Settings) { s.Nodes = 100 })},
		{name: "nodes: no number", env: map[string]string{"LAB_NODES": "two"}, wantErr: "LAB_NODES"},
		{name: "nodes: none", env: map[string]string{"LAB_NODES": "0"}, wantErr: "LAB_NODES"},
		{name: "nodes: too many", env: map[string]string{"LAB_NODES": "101"}, wantErr: "LAB_NODES"},
		{name: "version without v", env: map[string]string{"LAB_KUBERNETES": "1.35.4"}, wantErr: "LAB_KUBERNETES"},
		{name: "cluster named like the hub", env: map[string]string{"LAB_CLUSTERS": "hub"}, wantErr: `"hub" is there twice`},
		{name: "cluster twice", env: map[string]string{"LAB_CLUSTERS": "a a"}, wantErr: "twice"},
		{name: "cluster name too long for an interface", env: map[string]string{"LAB_CLUSTERS": "abcdefghijk"}, wantErr: "LAB_CLUSTERS"},
		{name: "cluster name that leaves its folder", env: map[string]string{"LAB_CLUSTERS": "../x"}, wantErr: "LAB_CLUSTERS"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := FromEnv(func(k string) string { return tc.env[k] }, "/repo")
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %v does not say %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func largest() Plan {
	s := Settings{Dir: "/repo/.lab", Nodes: maxNodes, Kubernetes: DefaultKubernetes}
	for i := range maxClusters {
		s.Clusters = append(s.Clusters, fmt.Sprintf("cluster%03d", i))
	}
	return New(s)
}

// Ranges that overlap would hide the very mistakes that the lab is there to find.
func TestNoRangeOverlapsAnother(t *testing.T) {
	p := largest()
	seen := append([]netip.Prefix{}, p.Outside.Networks...)
	for _, c := range p.Clusters {
		for _, r := range [][]netip.Prefix{c.NodeNetworks, c.PodCIDRs, c.ServiceCIDRs} {
			if !r[0].Addr().Is4() || !r[1].Addr().Is6() {
				t.Errorf("%s: %v is not one range of each family", c.Name, r)
			}
			for _, a := range r {
				for _, b := range seen {
					if a.Overlaps(b) {
						t.Errorf("%s: %s overlaps %s", c.Name, a, b)
					}
				}
				if a != a.Masked() {
					t.Errorf("%s: %s has host bits", c.Name, a)
				}
				seen = append(seen, a)
			}
		}
	}
}

func TestAddressesAndNamesAreUniqueAndFit(t *testing.T) {
	p := largest()
	seen := map[string]string{}
	claim := func(what, owner string) {
		if other, ok := seen[what]; ok {
			t.Errorf("%s and %s share %s", owner, other, what)
		}
		seen[what] = owner
	}
	for _, c := range p.Clusters {
		for _, m := range append([]Machine{c.ControlPlane}, c.Nodes...) {
			for _, what := range []string{m.IPv4.String(), m.IPv6.String(), m.MAC, m.Netns, m.Cgroup, m.Dir, m.Logs, m.Name} {
				claim(what, m.Name)
			}
			if !c.NodeNetworks[0].Contains(m.IPv4) || !c.NodeNetworks[1].Contains(m.IPv6) {
				t.Errorf("%s is outside its network", m.Name)
			}
			if len(m.Name) > 15 {
				t.Errorf("%s is too long for an interface", m.Name)
			}
		}
		for i, dns := range c.DNS {
			if !c.ServiceCIDRs[i].Contains(dns) {
				t.Errorf("%s: DNS address %s is no service address", c.Name, dns)
			}
		}
		claim(c.Bridge, c.Name)
		if len(c.Bridge) > 15 {
			t.Errorf("%s is too long for an interface", c.Bridge)
		}
	}
}

func TestTwoLabsShareNoName(t *testing.T) {
	a := New(Settings{Dir: "/a/.lab", Nodes: 1, Clusters: []string{"alpha"}})
	b := New(Settings{Dir: "/b/.lab", Nodes: 1, Clusters: []string{"alpha"}})
	if a.ID == b.ID || a.Cgroup == b.Cgroup || a.Router == b.Router {
		t.Errorf("labs share a name: %s and %s", a.ID, b.ID)
	}
	if again := New(Settings{Dir: "/a/.lab", Nodes: 1, Clusters: []string{"alpha"}}); again.ID != a.ID {
		t.Errorf("one folder has the ids %s and %s", a.ID, again.ID)
	}
}

func TestPlanSurvivesItsFile(t *testing.T) {
	p := New(Settings{Dir: "/a", Nodes: 2, Clusters: []string{"alpha"}, Kubernetes: DefaultKubernetes})
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back Plan
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p, back, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
		t.Error(d)
	}
}

func TestUnknownNamesAreAnsweredWithTheKnownOnes(t *testing.T) {
	p := New(Settings{Dir: "/a", Nodes: 1, Clusters: []string{"alpha"}})
	if _, err := p.Cluster("beta"); err == nil || !strings.Contains(err.Error(), "[hub alpha]") {
		t.Errorf("error does not name the clusters: %v", err)
	}
	if _, err := p.Machine("alpha-9"); err == nil || !strings.Contains(err.Error(), "alpha-1") {
		t.Errorf("error does not name the machines: %v", err)
	}
}
