// SPDX-License-Identifier: Apache-2.0

package architecture

import "testing"

// TestTheLabsLayers keeps what decides in the lab apart from what touches the kernel.
func TestTheLabsLayers(t *testing.T) {
	pkgs := list(t, "./test/lab/...")
	acts := []string{"test/lab/cgroup", "test/lab/node", "test/lab/supervise", "test/lab/wire"}
	for _, rule := range []struct {
		from   string
		never  []string
		reason string
	}{
		{"test/lab/plan", []string{"test/lab", "internal", "api"}, "what a lab consists of follows from values"},
		{"test/lab/births", append([]string{"test/lab/provider", "test/lab/kube", "test/lab/fleet"}, acts...), "the book knows numbers, and not what they are for"},
		{"test/lab/provider", append([]string{"test/lab/births", "test/lab/build", "test/lab/pki"}, acts...), "Cluster API's provider asks for machines, and does not make them"},
	} {
		p, ok := pkgs[module+"/"+rule.from]
		if !ok {
			t.Errorf("there is no package %s: the rule would hold by accident", rule.from)
		}
		for _, imp := range p.Imports {
			if under(imp, rule.never...) {
				t.Errorf("%s imports %s: %s", p.ImportPath, imp, rule.reason)
			}
		}
	}
}
