// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"strings"
	"testing"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

func TestWhatAVersionDoesNotSupport(t *testing.T) {
	needs := Requirements{Kubernetes: ">=1.32.0-0 <1.37.0-0", Kernel: ">=6.1.0-0"}
	for _, c := range []struct {
		name                string
		needs               Requirements
		kubernetes, kernels []string
		want                string
	}{
		{"what it supports", needs, []string{"v1.35.4"}, []string{"6.18.3-cloud-amd64"}, ""},
		{"nothing is known yet", needs, nil, nil, ""},
		{"no needs", Requirements{}, []string{"v1.2.3"}, []string{"2.6"}, ""},
		{"one node's Kubernetes is too old", needs, []string{"v1.31.9+k3s1", "v1.32.0"}, []string{"6.1.0"}, "v0.2.0 needs Kubernetes >=1.32.0-0 <1.37.0-0, and there is v1.31.9+k3s1"},
		{"Kubernetes is too new", needs, []string{"v1.37.0"}, nil, "and there is v1.37.0"},
		{"a kernel of a distribution", needs, []string{"v1.35.4"}, []string{"5.15.0-91-generic"}, "v0.2.0 needs Linux >=6.1.0-0, and there is 5.15.0-91-generic"},
		{"a kernel of two numbers", needs, nil, []string{"6.1"}, ""},
		{"a kernel that cannot be read", needs, nil, []string{"custom"}, ""},
		{"a chart with a range that is none", Requirements{Kernel: "new"}, nil, []string{"6.1"}, `asks for Linux "new", which is no range`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.needs.unmet("v0.2.0", v1alpha1.Environment{Kubernetes: c.kubernetes, Kernels: c.kernels})
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAClusterThatCannotHaveTheVersionKeepsWhatItHas(t *testing.T) {
	w := fleet(t, 2, "one", "two")
	w.settle()
	w.requires = map[string]Requirements{"v0.2.0": {Kernel: ">=6.1.0-0"}}
	w.clusters[0].Environment.Kernels = []string{"5.15.0-91-generic"}
	w.upgrade("v0.2.0")
	w.settle()
	w.run("one-0=v0.1.0 one-1=v0.2.0 two-0=v0.2.0 two-1=v0.2.0")
	w.expect(v1alpha1.RolloutComplete, "3 of 4 clusters proven; 1 cannot have it: one-0 (v0.2.0 needs Linux >=6.1.0-0, and there is 5.15.0-91-generic)")
	w.clusters[0].Environment.Kernels = []string{"6.8.0-45-generic"}
	w.settle()
	w.expect(v1alpha1.RolloutComplete, "4 of 4")
}
