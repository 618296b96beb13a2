// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

func pointer[T any](v T) *T { return &v }

func forEnv(name, env string, cni v1alpha1.CNIOverride) v1alpha1.ClusterOverride {
	return v1alpha1.ClusterOverride{Name: name, ClusterSelector: metav1.LabelSelector{MatchLabels: map[string]string{"env": env}}, CNI: cni}
}

func TestOverridesAreLaidOverOneAnother(t *testing.T) {
	s := lab("a", 0, "lab", "prod", "edge")
	s.Spec.CNI = v1alpha1.CNISpec{MTU: 1400, Masquerade: pointer(true), MasqueradeExceptions: []v1alpha1.CIDR{"192.0.2.0/24"}}
	s.Spec.Overrides = []v1alpha1.ClusterOverride{
		forEnv("native", "prod", v1alpha1.CNIOverride{
			Routing: &v1alpha1.RoutingOverride{Mode: pointer(v1alpha1.RoutingNative)}, MTU: pointer(v1alpha1.MTU(9000)),
			FlowTable:            &v1alpha1.FlowTableOverride{Entries: pointer(v1alpha1.FlowEntries(1 << 20))},
			KubeProxyReplacement: pointer(v1alpha1.KubeProxyReplacementEnabled),
			Services: &v1alpha1.ServicesOverride{Forwarding: pointer(v1alpha1.ForwardingDSR), Frontends: pointer(v1alpha1.ServiceFrontends(1024)),
				Backends: pointer(v1alpha1.ServiceBackends(2048))},
		}),
		forEnv("zero", "edge", v1alpha1.CNIOverride{
			MTU: pointer(v1alpha1.MTU(0)), Masquerade: pointer(false), MasqueradeExceptions: []v1alpha1.CIDR{},
			Routing: &v1alpha1.RoutingOverride{}, Tunnel: &v1alpha1.TunnelOverride{}, FlowTable: &v1alpha1.FlowTableOverride{},
			Services: &v1alpha1.ServicesOverride{},
		}),
		{Name: "both", ClusterSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "env", Operator: metav1.LabelSelectorOpIn, Values: []string{"prod", "edge"}},
		}}, CNI: v1alpha1.CNIOverride{Tunnel: &v1alpha1.TunnelOverride{Port: pointer(v1alpha1.TunnelPort(4789))}}},
		forEnv("last wins", "prod", v1alpha1.CNIOverride{MTU: pointer(v1alpha1.MTU(8900))}),
		{Name: "empty", CNI: v1alpha1.CNIOverride{MTU: pointer(v1alpha1.MTU(1280))}},
	}
	before := s.DeepCopy()
	p, err := Make(&s, nil, []Cluster{in("alpha", "lab"), in("bravo", "prod"), in("charlie", "edge")}, Versions{Own: carried})
	if err != nil {
		t.Fatal(err)
	}
	yes, no := true, false
	exceptions := []v1alpha1.CIDR{"192.0.2.0/24"}
	unserved := v1alpha1.ServicesSpec{Forwarding: "SNAT", Frontends: 65536, Backends: 262144}
	want := map[string]v1alpha1.CNISpec{
		"alpha": {Routing: v1alpha1.RoutingSpec{Mode: "Tunnel"}, Tunnel: v1alpha1.TunnelSpec{Port: 8472}, MTU: 1400, Masquerade: &yes,
			MasqueradeExceptions: exceptions, FlowTable: v1alpha1.FlowTableSpec{Entries: 131072}, KubeProxyReplacement: "Disabled", Services: unserved},
		"bravo": {Routing: v1alpha1.RoutingSpec{Mode: "Native"}, Tunnel: v1alpha1.TunnelSpec{Port: 4789}, MTU: 8900, Masquerade: &yes,
			MasqueradeExceptions: exceptions, FlowTable: v1alpha1.FlowTableSpec{Entries: 1048576}, KubeProxyReplacement: "Enabled",
			Services: v1alpha1.ServicesSpec{Forwarding: "DSR", Frontends: 1024, Backends: 2048}},
		"charlie": {Routing: v1alpha1.RoutingSpec{Mode: "Tunnel"}, Tunnel: v1alpha1.TunnelSpec{Port: 4789}, MTU: 0, Masquerade: &no,
			MasqueradeExceptions: []v1alpha1.CIDR{}, FlowTable: v1alpha1.FlowTableSpec{Entries: 131072}, KubeProxyReplacement: "Disabled", Services: unserved},
	}
	digests := map[string]bool{}
	for _, c := range p.Clusters {
		if d := cmp.Diff(want[c.Cluster], c.Spec.CNI); d != "" {
			t.Errorf("%s: %s", c.Cluster, d)
		}
		digests[c.Spec.PlanDigest] = true
	}
	if len(p.Clusters) != 3 || len(digests) != 3 {
		t.Errorf("%d clusters with %d digests", len(p.Clusters), len(digests))
	}
	if d := cmp.Diff(before, &s); d != "" {
		t.Errorf("planning changed the stack: %s", d)
	}
}

// What a client reads and writes back must be what was written: an empty list takes all
// exceptions away, none leaves them.
func TestAnOverrideTellsNotSetFromZero(t *testing.T) {
	for _, text := range []string{`{}`, `{"masqueradeExceptions":[]}`, `{"mtu":0,"masquerade":false}`, `{"routing":{},"masqueradeExceptions":["192.0.2.0/24"]}`} {
		var o v1alpha1.CNIOverride
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(o.DeepCopy())
		if err != nil || string(again) != text {
			t.Errorf("%s was written back as %s (%v)", text, again, err)
		}
	}
}

func TestAnOverrideWithAnInvalidSelectorIsNamed(t *testing.T) {
	s := lab("a", 0, "lab")
	s.Spec.Overrides = []v1alpha1.ClusterOverride{forEnv("good", "lab", v1alpha1.CNIOverride{}), forEnv("bad", "no such value!", v1alpha1.CNIOverride{})}
	_, err := Make(&s, nil, []Cluster{in("alpha", "lab")}, Versions{Own: carried})
	var i *InvalidSelectorError
	if !errors.As(err, &i) || i.Override != "bad" || !strings.Contains(err.Error(), `clusterSelector of spec.overrides[name=bad] of NetworkStack "a"`) {
		t.Errorf("got %v", err)
	}
	// Its clusters stay its own, and it can take none over.
	younger := lab("b", -1, "lab")
	p, err := Make(&younger, []v1alpha1.NetworkStack{s, younger}, []Cluster{in("alpha", "lab")}, Versions{Own: carried})
	if err != nil || len(p.Conflicts) != 1 {
		t.Errorf("got %v, %v", p, err)
	}
	if heir := Heir("me", []v1alpha1.NetworkStack{s}, in("alpha", "lab"), Versions{Own: carried}); heir != "" {
		t.Errorf("%q takes over what it cannot serve", heir)
	}
}
