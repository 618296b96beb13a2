// SPDX-License-Identifier: Apache-2.0

package births

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead-io/fairlead/test/lab/plan"
)

func open(t *testing.T, dir string) *Book {
	t.Helper()
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func reserve(t *testing.T, b *Book, cluster string) plan.Birth {
	t.Helper()
	birth, err := b.Reserve("fleet", cluster)
	if err != nil {
		t.Fatal(err)
	}
	return birth
}

// What a cluster and its nodes have is theirs as long as they exist, whatever happens to the supervisor.
func TestNumbersAreKeptAndFreed(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	reserve(t, b, "alpha")
	reserve(t, b, "bravo")
	pods := []netip.Prefix{netip.MustParsePrefix("10.64.0.0/16"), netip.MustParsePrefix("fd00:64::/48")}
	if _, err := b.SetControlPlane("bravo", "v1.35.4", pods, pods); err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"bravo-x", "bravo-y", "bravo-x"} {
		if _, err := b.AddNode("bravo", node, "v1.35.4"); err != nil {
			t.Fatal(err)
		}
	}

	again := open(t, dir)
	if d := cmp.Diff(b.Births(), again.Births(), cmpopts.EquateComparable(netip.Prefix{})); d != "" {
		t.Errorf("the book is another one when it is read again: %s", d)
	}
	bravo := reserve(t, again, "bravo")
	if bravo.Index != 2 || len(bravo.Nodes) != 2 || bravo.Nodes[0].Number != 11 || bravo.Nodes[1].Number != 12 {
		t.Errorf("bravo is %+v", bravo)
	}

	if err := again.Remove("alpha"); err != nil {
		t.Fatal(err)
	}
	if charlie := reserve(t, again, "charlie"); charlie.Index != 1 {
		t.Errorf("charlie has the index %d; 1 is free", charlie.Index)
	}
	if err := again.RemoveNode("bravo", "bravo-x"); err != nil {
		t.Fatal(err)
	}
	bravo, err := again.AddNode("bravo", "bravo-z", "v1.35.4")
	if err != nil || bravo.Nodes[1] != (plan.NodeBirth{Name: "bravo-z", Number: 11, Kubernetes: "v1.35.4"}) {
		t.Errorf("a new node of bravo has another number than the one that is free: %+v, %v", bravo.Nodes, err)
	}
}

func TestRefusals(t *testing.T) {
	b := open(t, t.TempDir())
	reserve(t, b, "alpha")
	for _, tc := range []struct {
		name string
		do   func() error
		want string
	}{
		{"the management cluster's name", func() error { _, err := b.Reserve("fleet", "hub"); return err }, "Cluster fleet/hub"},
		{"a name of another namespace", func() error { _, err := b.Reserve("other", "alpha"); return err }, "of namespace fleet"},
		{"a node of an unknown cluster", func() error { _, err := b.AddNode("bravo", "n", "v1.35.4"); return err }, "cluster bravo"},
		{"more nodes than addresses", func() (err error) {
			for i := 0; err == nil; i++ {
				_, err = b.AddNode("alpha", strings.Repeat("n", i+1), "v1.35.4")
			}
			return err
		}, "cluster alpha has 244 nodes"},
		{"more clusters than node networks", func() (err error) {
			for i := 0; err == nil; i++ {
				_, err = b.Reserve("fleet", strings.Repeat("c", i+1))
			}
			return err
		}, "the lab has 200 clusters"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.do(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v does not say %q", err, tc.want)
			}
		})
	}
	if alpha, _ := b.Find("alpha"); len(alpha.Nodes) != 244 {
		t.Errorf("what was refused is in the book: %d nodes", len(alpha.Nodes))
	}
}
