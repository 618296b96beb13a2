// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/fairlead-io/fairlead/internal/state"
)

var update = flag.Bool("update", false, "write the goldens in testdata again")

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// n is a node that is age hours younger than the first.
func n(name string, age int, ips, cidrs []string) Node {
	return Node{Name: name, Created: t0.Add(time.Duration(age) * time.Hour), InternalIPs: ips, PodCIDRs: cidrs}
}

func s(texts ...string) []string { return texts }

func TestBuildNodes(t *testing.T) {
	for _, c := range []struct {
		story   string
		cluster []string
		nodes   []Node
	}{
		{"two nodes, dual stack", s("10.244.0.0/16", "fd00:10::/56"), []Node{
			n("b", 1, s("192.168.0.2", "fd00::2"), s("10.244.2.0/24", "fd00:10:0:2::/64")),
			n("a", 0, s("192.168.0.1", "fd00::1"), s("10.244.1.0/24", "fd00:10:0:1::/64")),
		}},
		{"IPv6 only", s("fd00:10::/56"), []Node{n("a", 0, s("fd00::1"), s("fd00:10:0:1::/64"))}},
		{"no range assigned yet", s("10.244.0.0/16"), []Node{
			n("a", 0, s("192.168.0.1"), s("10.244.1.0/24")), n("b", 1, s("192.168.0.2"), nil),
		}},
		{"malformed range beside a good one", s("10.244.0.0/16"), []Node{
			n("a", 0, s("192.168.0.1"), s("10.244.1.0/33", "fd00:10:0:1::/64")), n("b", 0, s("192.168.0.2"), s("banana")),
		}},
		{"host bits in a range are cleared", nil, []Node{n("a", 0, s("192.168.0.1"), s("10.244.1.77/24"))}},
		{"two ranges of one family", nil, []Node{n("a", 0, s("192.168.0.1"), s("10.244.1.0/24", "10.244.2.0/24"))}},
		{"same range, the older node keeps it", nil, []Node{
			n("a", 5, s("192.168.0.1"), s("10.244.1.0/24")), n("b", 0, s("192.168.0.2"), s("10.244.1.0/24")),
		}},
		{"same range, same age, the first by name keeps it", nil, []Node{
			n("b", 0, s("192.168.0.2"), s("10.244.1.0/24")), n("a", 0, s("192.168.0.1"), s("10.244.1.0/24")),
		}},
		{"a younger wider range overlaps two", nil, []Node{
			n("a", 0, s("192.168.0.1"), s("10.244.1.0/24")), n("b", 1, s("192.168.0.2"), s("10.244.2.0/24")),
			n("c", 2, s("192.168.0.3"), s("10.244.0.0/16")),
		}},
		{"a younger narrower range lies within", nil, []Node{
			n("a", 0, s("192.168.0.1"), s("10.244.0.0/16")), n("b", 1, s("192.168.0.2"), s("10.244.2.0/24", "fd00:10:0:2::/64")),
		}},
		{"range on the node network", nil, []Node{
			n("a", 0, s("192.168.0.1"), s("192.168.0.0/24")), n("b", 1, s("192.168.1.1"), s("10.244.2.0/24")),
		}},
		{"no InternalIP", nil, []Node{n("a", 0, nil, s("10.244.1.0/24")), n("b", 1, s("192.168.0.2"), s("10.244.2.0/24"))}},
		{"useless InternalIPs", nil, []Node{n("a", 0, s("127.0.0.1", "::", "fe80::1%eth0", "nonsense", "192.168.0.1", "192.168.0.9"), s("10.244.1.0/24"))}},
		{"only useless InternalIPs", nil, []Node{n("a", 0, s("127.0.0.1", "fe80::1"), s("10.244.1.0/24"))}},
		{"malformed cluster range", s("10.244.0.0", "fd00:10::/56"), []Node{n("a", 0, s("192.168.0.1"), s("10.244.1.0/24"))}},
		{"node range outside of the cluster's", s("10.244.0.0/16"), []Node{n("a", 0, s("192.168.0.1"), s("10.99.1.0/24"))}},
		{"no nodes", s("10.244.0.0/16"), nil},
	} {
		t.Run(c.story, func(t *testing.T) {
			got := render(t, BuildNodes(c.cluster, c.nodes))
			for range 5 { // order of the input must not matter
				rand.Shuffle(len(c.nodes), func(i, j int) { c.nodes[i], c.nodes[j] = c.nodes[j], c.nodes[i] })
				if again := render(t, BuildNodes(c.cluster, c.nodes)); again != got {
					t.Fatalf("the order of the input matters:\n%s", cmp.Diff(got, again))
				}
			}
			golden(t, c.story, got)
		})
	}
}

func TestBuildEndpoints(t *testing.T) {
	for _, c := range []struct {
		story string
		pods  []Pod
	}{
		{"pods of every kind", []Pod{
			{Namespace: "default", Name: "web", UID: "u1", IPs: s("10.244.1.5", "fd00:10:0:1::5")},
			{Namespace: "default", Name: "starting", UID: "u2"},
			{Namespace: "kube-system", Name: "proxy", UID: "u3", HostNetwork: true, IPs: s("192.168.0.1")},
			{Namespace: "default", Name: "job", UID: "u4", Finished: true, IPs: s("10.244.1.6")},
			{Namespace: "a", Name: "web", UID: "u5", IPs: s("10.244.1.7")},
		}},
		{"a pod with a bad address", []Pod{{Namespace: "default", Name: "odd", UID: "u1", IPs: s("10.244.1.999", "fd00::5")}}},
		{"no pods", nil},
	} {
		t.Run(c.story, func(t *testing.T) {
			resources, findings := BuildEndpoints(c.pods)
			out := map[string]any{"endpoints": decodeAll(t, resources), "findings": lines(findings)}
			golden(t, c.story, marshal(t, out))
		})
	}
}

// render shows a model as people would review it.
func render(t *testing.T, m Nodes) string {
	t.Helper()
	locals := slices.SortedFunc(maps.Values(m.Local), func(a, b state.Resource) int { return strings.Compare(a.Name, b.Name) })
	findings := map[string][]string{}
	for node, list := range m.Findings {
		findings[node] = lines(list)
	}
	return marshal(t, map[string]any{"local": decodeAll(t, locals), "peers": decodeAll(t, m.Peers), "podCIDRs": m.PodCIDRs, "findings": findings})
}

func lines(findings []Finding) []string {
	var out []string
	for _, f := range findings {
		out = append(out, f.String())
	}
	return out
}

func decodeAll(t *testing.T, resources []state.Resource) []string {
	t.Helper()
	var out []string
	for _, r := range resources {
		var m proto.Message
		switch r.Type {
		case state.LocalNodeType:
			m = &state.LocalNode{}
		case state.PeerNodeType:
			m = &state.PeerNode{}
		case state.EndpointType:
			m = &state.Endpoint{}
		}
		if err := proto.Unmarshal(r.Body, m); err != nil {
			t.Fatal(err)
		}
		again, err := state.Encode(r.Name, m)
		if err != nil || again.Version != r.Version {
			t.Fatalf("%s: version %s, encoded again %s (%v)", r.Name, r.Version, again.Version, err)
		}
		fields, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s@%s %s", r.Name, r.Version, fields))
	}
	return out
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func golden(t *testing.T, story, got string) {
	t.Helper()
	path := filepath.Join("testdata", strings.NewReplacer(" ", "-", ",", "", "'", "").Replace(story)+".json")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got; refresh with -update):\n%s", path, d)
	}
}

func BenchmarkBuildNodes1000(b *testing.B) {
	var nodes []Node
	for i := range 1000 {
		nodes = append(nodes, n(fmt.Sprintf("node-%04d", i), i, s(fmt.Sprintf("192.168.%d.%d", i/250, i%250+1)), s(fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))))
	}
	for b.Loop() {
		if m := BuildNodes(s("10.0.0.0/8"), nodes); len(m.Findings) > 0 {
			b.Fatal(m.Findings)
		}
	}
}
