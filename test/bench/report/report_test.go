// SPDX-License-Identifier: Apache-2.0

package report

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-io/fairlead/test/bench/stats"
)

var update = flag.Bool("update", false, "write the golden files anew")

var machine = Machine{
	CPUs: 2, Model: "Example CPU", Kernel: "6.18.0 x86_64", Go: "go1.26", CongestionControl: "cubic", DefaultControl: "bbr",
	Mitigations: "spectre_v1: barriers", Modules: "br_netfilter yes, conntrack yes",
}

func rows() []Row {
	median := func(samples ...float64) stats.Summary { return stats.Median(samples) }
	return []Row{
		NewRow("datapath", "tcp_rr", "veth", "p50", "us", median(5.8, 5.7, 5.9)),
		NewRow("datapath", "tcp_rr", "fairlead-same", "p50", "us", median(6.1, 6.2, 6.3)),
		NewRow("datapath", "tcp_crr", "bridge", "rate", "1/s", median(24800)),
		NewRow("datapath", "tcp_crr", "fairlead-same", "rate", "1/s", median(20000.4)),
		NewRow("datapath", "tcp_rr", "fairlead-same", RatioMetric("p50", "veth"), RatioUnit, median(1.05, 1.06, 1.07)),
		NewRow("datapath", "tcp_crr", "fairlead-same", RatioMetric("rate", "bridge"), RatioUnit, median(0.806)),
		NewRow("datapath", "verified_insns", "from_pod", "instructions", "1", median(4512)),
		NewRow("datapath", "verified_insns", "to_pod", "instructions", "1", median(23000)),
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got); run the test with -update if that is right:\n%s", path, diff)
	}
}

func TestTheFileIsShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out", "bench.json")
	services := []Row{NewRow("services", "tcp_rr", "cluster-ip", "p50", "us", stats.Median([]float64{7}))}
	old := []Row{NewRow("datapath", "gone", "by now", "p50", "us", stats.Median([]float64{1}))}
	for _, u := range []struct {
		area string
		rows []Row
	}{{"datapath", old}, {"services", services}, {"datapath", rows()}} {
		if err := Update(path, u.area, u.rows); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "bench.json", got)
	back, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append(services, rows()...), back); diff != "" {
		t.Errorf("what is read differs from what was written:\n%s", diff)
	}
}

func TestTables(t *testing.T) {
	golden(t, "tables.md", []byte(Tables([]string{"datapath"}, append(rows(), Row{Area: "services", Case: "not here"}), machine)))
}

func TestOnlyWhatIsBetweenTheMarksChanges(t *testing.T) {
	page := filepath.Join(t.TempDir(), "bench.md")
	if err := os.WriteFile(page, []byte("# Before\n"+Begin+"\nold\n"+End+"\nAfter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time must change nothing
		if err := WriteDocs(page, []string{"datapath"}, rows(), machine); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		want := "# Before\n" + Begin + "\n" + Tables([]string{"datapath"}, rows(), machine) + End + "\nAfter\n"
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("page differs:\n%s", diff)
		}
	}
}

func TestErrorsNameTheFileAndTheFix(t *testing.T) {
	dir := t.TempDir()
	page, figures := filepath.Join(dir, "page.md"), filepath.Join(dir, "bench.json")
	for _, f := range []string{page, figures} {
		if err := os.WriteFile(f, []byte("{"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteDocs(page, []string{"datapath"}, nil, machine); err == nil || !strings.Contains(err.Error(), page) || !strings.Contains(err.Error(), Begin) {
		t.Errorf("got %v, want the page and the mark", err)
	}
	if err := Update(figures, "datapath", nil); err == nil || !strings.Contains(err.Error(), figures) || !strings.Contains(err.Error(), "-o") {
		t.Errorf("got %v, want the file and the fix", err)
	}
	if b, _ := os.ReadFile(figures); string(b) != "{" {
		t.Error("a file that could not be read was overwritten")
	}
}

func TestMitigations(t *testing.T) {
	dir := t.TempDir()
	for name, state := range map[string]string{"a": "Not affected\n", "b": "Mitigation: barriers\n", "c": "Vulnerable\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(state), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := mitigations(dir); err != nil || got != "b: barriers; c: Vulnerable" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := mitigations(filepath.Join(dir, "nowhere")); err != nil || got != "unknown" {
		t.Errorf("got %q, %v", got, err)
	}
}
