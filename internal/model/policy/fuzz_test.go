// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"
)

// FuzzCompile gives the compiler specs that no API server would let through: it must neither
// fail nor keep silent about a rule that it leaves out, and what it makes can be encoded.
func FuzzCompile(f *testing.F) {
	c := chance{rand.New(rand.NewPCG(1, 2))}
	for range 20 {
		spec, err := json.Marshal(c.networkPolicy().Spec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(spec, false)
		if spec, err = json.Marshal(c.clusterPolicy().Spec); err != nil {
			f.Fatal(err)
		}
		f.Add(spec, true)
	}
	f.Fuzz(func(t *testing.T, spec []byte, cluster bool) {
		x := NewIndex()
		x.SetPod(Pod{Namespace: "default", Name: "p", Node: "n", UID: "u", Labels: map[string]string{"app": "x"}, Ports: []NamedPort{{"http", 6, 80}}})
		if cluster {
			p := &policyv1.ClusterNetworkPolicy{}
			if json.Unmarshal(spec, &p.Spec) != nil {
				return
			}
			x.SetClusterNetworkPolicy(p)
		} else {
			p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "default"}}
			if json.Unmarshal(spec, &p.Spec) != nil {
				return
			}
			p.Spec.PolicyTypes = []networkingv1.PolicyType{"Ingress", "Egress"}
			findings := x.SetNetworkPolicy(p)
			got := x.policies[NetworkPolicyName("default", "")]
			places := map[uint32]bool{}
			for _, r := range got.egress.rules {
				places[r.place] = true
			}
			if len(places) < len(p.Spec.Egress) && len(findings) == 0 {
				t.Errorf("rules are left out in silence: %s", spec)
			}
		}
		if _, err := x.Take(); err != nil {
			t.Errorf("it cannot be encoded: %v", err)
		}
	})
}

// FuzzSelector compares the reading of selectors with that of Kubernetes.
func FuzzSelector(f *testing.F) {
	for _, s := range []string{`{}`, `{"matchLabels":{"app":"x"}}`, `{"matchExpressions":[{"key":"app","operator":"NotIn","values":["x","y"]}]}`,
		`{"matchExpressions":[{"key":"app","operator":"Exists"},{"key":"tier","operator":"DoesNotExist"}]}`} {
		f.Add([]byte(s), []byte(`{"app":"x"}`))
		f.Add([]byte(s), []byte(`{"tier":"z"}`))
	}
	f.Fuzz(func(t *testing.T, selector, on []byte) {
		s, l := &metav1.LabelSelector{}, map[string]string{}
		if json.Unmarshal(selector, s) != nil || json.Unmarshal(on, &l) != nil {
			return
		}
		want, err := metav1.LabelSelectorAsSelector(s)
		got, gotErr := parseSelector(s)
		if (err == nil) != (gotErr == nil) {
			t.Fatalf("%s: %v, Kubernetes says %v", selector, gotErr, err)
		}
		if err == nil && got.matches(l) != want.Matches(labels.Set(l)) {
			t.Fatalf("%s on %s: %v", selector, on, got.matches(l))
		}
	})
}

// FuzzIndex compares the index with the naive model on whatever worlds the seed makes.
func FuzzIndex(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { run(t, seed, 60) })
}
