// SPDX-License-Identifier: Apache-2.0

package policyscale

import (
	"encoding/json"
	"os"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/internal/model/policy"
	"github.com/fairlead-io/fairlead/internal/state"
)

// outFile names, in the environment, where rows go.
const outFile = "FAIRLEAD_POLICYSCALE_OUT"

// size is what is measured, and what it may come to.
type size struct {
	cluster
	changes  int           // of each kind
	patience time.Duration // until all agents have everything
	p99      time.Duration // to the last acknowledgement
	memory   float64       // of the controller, MiB
}

// theSize is the whole one, or with -short one that fits into `make test`, whose bounds leave room
// for a busy machine.
func theSize() size {
	if testing.Short() {
		return size{cluster{nodes: 100, namespaces: 100}, 30, 30 * time.Second, time.Second, 512}
	}
	return size{cluster{nodes: 1000, namespaces: 1000}, 150, 3 * time.Minute, 300 * time.Millisecond, 1024}
}

// row is a figure.
type row struct {
	Case   string  `json:"case"`
	Metric string  `json:"metric"`
	Unit   string  `json:"unit"`
	N      int     `json:"n"`
	Value  float64 `json:"value"`
}

// TestPoliciesAtScale: a pod's label or a policy changes, and the last agent that has to know has
// acknowledged soon, while the controller stays small.
func TestPoliciesAtScale(t *testing.T) {
	s := theSize()
	began := time.Now()
	c := startController(t, s.fill)
	rows := []row{{"policy_fill", "time", "s", 1, time.Since(began).Seconds()}}
	began = time.Now()
	startAgents(t, c.address, s.nodes)
	c.synced(t, s.nodes, s.patience)
	rows = append(rows, row{"policy_first_sync", "time", "s", 1, time.Since(began).Seconds()},
		row{"policy_first_sync", "sent", "MiB", 1, float64(c.sent.bytes.Load()) / (1 << 20)})

	var labels, policies []change
	for i := range s.changes {
		p := s.relabelled(i)
		labels = append(labels, c.do(t, func(x *policy.Index) { x.SetPod(p) }))
		ns, of := i%s.namespaces, i%perNamespace
		policies = append(policies, c.do(t, func(x *policy.Index) { x.SetNetworkPolicy(s.policy(ns, of, int32(9000+i))) }))
		time.Sleep(10 * time.Millisecond) // Changes one by one: a storm is another matter.
	}
	rows = append(rows, summary("policy_label", labels)...)
	rows = append(rows, summary("policy_change", policies)...)
	debug.FreeOSMemory()
	rows = append(rows, row{"policy_controller", "rss", "MiB", 1, resident(t, "RSS")}, row{"policy_controller", "peak", "MiB", 1, resident(t, "HWM")})
	for _, r := range rows {
		t.Logf("%-18s %-12s %9.1f %s", r.Case, r.Metric, r.Value, r.Unit)
		if r.Metric == "p99" && r.Value > float64(s.p99)/float64(time.Millisecond) {
			t.Errorf("%s: p99 %.0f ms, want %v at most", r.Case, r.Value, s.p99)
		}
		if r.Metric == "peak" && r.Value > s.memory {
			t.Errorf("the controller takes %.0f MiB, want %.0f at most", r.Value, s.memory)
		}
	}
	write(t, rows)
}

// summary are the figures of changes of a kind.
func summary(name string, changes []change) []row {
	n := len(changes)
	value := func(q float64, of func(change) float64) float64 {
		all := make([]float64, 0, n)
		for _, c := range changes {
			all = append(all, of(c))
		}
		slices.Sort(all)
		return all[min(n-1, int(q*float64(n)))]
	}
	ms := func(c change) float64 { return float64(c.took) / float64(time.Millisecond) }
	nodes := func(c change) float64 { return float64(c.nodes) }
	bytes := func(c change) float64 { return float64(c.bytes) }
	return []row{
		{name, "p50", "ms", n, value(0.5, ms)}, {name, "p99", "ms", n, value(0.99, ms)},
		{name, "nodes p50", "1", n, value(0.5, nodes)}, {name, "nodes max", "1", n, value(1, nodes)},
		{name, "sent p50", "bytes", n, value(0.5, bytes)}, {name, "sent max", "bytes", n, value(1, bytes)},
	}
}

// TestInterestSavesBytes: what a pod's change takes when each node is told what its own pods'
// policies name, beside the same content for everybody.
func TestInterestSavesBytes(t *testing.T) {
	s := theSize()
	x := policy.NewIndex()
	if err := s.fill(x); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Take(); err != nil {
		t.Fatal(err)
	}
	var with, without float64
	for i := range s.changes {
		x.SetPod(s.relabelled(i))
		change, err := x.Take()
		if err != nil {
			t.Fatal(err)
		}
		distinct := map[string]int{}
		for scope, d := range change.Scopes {
			for name, size := range sizes(d) {
				distinct[name] = size
				if scope == policy.Shared {
					size *= s.nodes
				}
				with += float64(size)
			}
		}
		for _, size := range distinct {
			without += float64(size * s.nodes)
		}
	}
	n := float64(s.changes)
	t.Logf("a pod's change: %.0f bytes by interest, %.0f bytes if everybody were told", with/n, without/n)
	if with*2 > without {
		t.Errorf("interest saves less than a half: %.0f of %.0f bytes", with/n, without/n)
	}
	write(t, []row{
		{"policy_label", "bytes by interest", "bytes", s.changes, with / n},
		{"policy_label", "bytes to everybody", "bytes", s.changes, without / n},
	})
}

// sizes are what resources take on the wire, near enough: name, version, body.
func sizes(d state.Delta) map[string]int {
	out := map[string]int{}
	for _, r := range d.Set {
		out[r.Name] = len(r.Name) + len(r.Version) + len(r.Type) + len(r.Body)
	}
	for _, name := range d.Removed {
		out[name] = len(name)
	}
	return out
}

// write adds rows to the file of the environment, if it names one.
func write(t *testing.T, rows []row) {
	t.Helper()
	file := os.Getenv(outFile)
	if file == "" {
		return
	}
	var all []row
	if raw, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(raw, &all); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := json.MarshalIndent(append(all, rows...), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}
