// SPDX-License-Identifier: Apache-2.0

package clusternetworkpolicy

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/interest"
	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/serve"
)

// says is what a replica knows of a generation.
type says struct {
	self       string
	generation int64
	in         *interest.InForce
	others     []string
}

func here(n int, elsewhere ...string) *interest.InForce {
	return &interest.InForce{Here: n, Elsewhere: elsewhere, Progress: serve.Progress{Acknowledged: n}}
}

// Each replica adds what its subscribers say; all of them together say that a generation is
// in force.
func TestReplicasAgreeOnWhatIsInForce(t *testing.T) {
	refused := &interest.InForce{Here: 2, Progress: serve.Progress{Acknowledged: 1, Refused: 1}}
	for _, c := range []struct {
		name  string
		story []says
		want  string
	}{
		{"nothing has been heard", []says{{"a", 1, nil, nil}}, "False/Waiting: Agents have not acknowledged it yet"},
		{"one replica has all", []says{{"a", 1, here(3), nil}}, "True/Acknowledged: acknowledged by 3 nodes (a 3)"},
		{"it concerns nobody", []says{{"a", 1, here(0), nil}}, "True/Acknowledged: acknowledged by 0 nodes"},
		{"the others are at another replica", []says{{"a", 1, here(3, "n4"), []string{"b"}}},
			"False/Waiting: waiting for those that are connected to b; acknowledged by 3 nodes (a 3)"},
		{"which says so too", []says{{"a", 1, here(3, "n4"), []string{"b"}}, {"b", 1, here(1, "n1", "n2", "n3"), []string{"a"}}},
			"True/Acknowledged: acknowledged by 4 nodes (a 3, b 1)"},
		{"and is gone afterwards", []says{{"a", 1, here(3, "n4"), []string{"b"}}, {"b", 1, here(1, "n1"), []string{"a"}}, {"a", 1, here(3, "n4"), []string{"c"}}},
			"True/Acknowledged: acknowledged by 4 nodes (a 3, b 1)"},
		{"the others are nowhere", []says{{"a", 1, here(3, "n4"), nil}}, "True/Acknowledged: acknowledged by 3 nodes (a 3)"},
		{"nobody is connected", []says{{"a", 1, here(0, "n1", "n2"), nil}}, "Unknown/NobodyConnected: none of the 2 nodes that it concerns is connected"},
		{"a replica that has nobody comes later", []says{{"a", 1, here(3), nil}, {"b", 1, here(0, "n1", "n2", "n3"), []string{"a"}}},
			"True/Acknowledged: acknowledged by 3 nodes (a 3)"},
		{"one refuses", []says{{"a", 1, here(3, "n4"), []string{"b"}}, {"b", 1, refused, []string{"a"}}, {"a", 1, here(3, "n4"), []string{"b"}}},
			"False/Refused: refused by 1 nodes, acknowledged by 1; the NodeNetworks have their words"},
		{"a new generation", []says{{"a", 1, here(3), nil}, {"a", 2, nil, nil}}, "False/Waiting: Agents have not acknowledged it yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &policyv1.ClusterNetworkPolicy{}
			for _, s := range c.story {
				o := outcome{generation: s.generation, inForce: s.in}
				setStatus(p, o, s.self, s.others)
				if setStatus(p, o, s.self, s.others) {
					t.Errorf("%s writes again what it has written", s.self)
				}
			}
			got := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionInForce)
			if text := string(got.Status) + "/" + got.Reason + ": " + got.Message; text != c.want {
				t.Errorf("it says %s, want %s", text, c.want)
			}
		})
	}
}

func TestFaultsAreInAccepted(t *testing.T) {
	p := &policyv1.ClusterNetworkPolicy{}
	setStatus(p, outcome{generation: 3, findings: []model.Finding{{Field: "spec.egress[0].to[0]", Message: "it is wrong", Fix: "mend it"}}}, "a", nil)
	got := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionAccepted)
	if got.Status != metav1.ConditionFalse || got.Reason != v1alpha1.ReasonPartsUnusable || got.ObservedGeneration != 3 ||
		got.Message != "These rules fail closed: spec.egress[0].to[0]: it is wrong; mend it" {
		t.Errorf("it says %+v", got)
	}
}
