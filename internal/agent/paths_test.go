// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead-io/fairlead/internal/agent/pathmtu"
)

func TestTheStatusNamesNarrowPathsAndIsBounded(t *testing.T) {
	named, more := narrow([]pathmtu.Path{{Peer: "a", MTU: 1500}, {Peer: "b"}, {Peer: "c", MTU: 1400, Reduced: true}})
	want := []PathStatus{{Node: "c", State: "reduced", MTU: 1400}, {Node: "b", State: "unknown"}}
	if !slices.Equal(named, want) || more != 0 {
		t.Errorf("got %v and %d more", named, more)
	}
	var many []pathmtu.Path
	for i := range 1000 {
		many = append(many, pathmtu.Path{Peer: fmt.Sprintf("n%03d", i)})
	}
	many = append(many, pathmtu.Path{Peer: "z", MTU: 1280, Reduced: true})
	named, more = narrow(many)
	if len(named) != maxPaths || more != 1001-maxPaths || named[0].Node != "z" {
		t.Errorf("%d named, %d more, the first is %v", len(named), more, named[0])
	}
}

func TestPeersAreCountedByTheirPaths(t *testing.T) {
	paths := pathmtu.New(pathmtu.Config{Log: slog.New(slog.DiscardHandler)})
	paths.SetPeers([]pathmtu.Peer{{Name: "a"}, {Name: "b"}})
	registry := prometheus.NewRegistry()
	registry.MustRegister(&pathCollector{paths})
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("got %v, %v", families, err)
	}
	got := map[string]float64{}
	for _, m := range families[0].GetMetric() {
		got[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
	}
	if len(got) != 3 || got["unknown"] != 2 || got["full"] != 0 || got["reduced"] != 0 {
		t.Errorf("got %v", got)
	}
}
