// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseReport(t *testing.T) {
	raw, err := os.ReadFile("testdata/mixed/report.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseReport(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := []Result{
		{Text: "[sig-network] DNS should provide DNS for services [Conformance]", State: "passed", Took: 3 * time.Second},
		{Text: "[sig-network] Networking should work", State: "failed", Took: time.Second, Failure: "no answer"},
		{Text: "SynchronizedBeforeSuite", State: "failed", Took: time.Second, Failure: "nodes are not ready"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := parseReport([]byte("{")); err == nil {
		t.Error("junk passes for a report")
	}
}

func TestVerdict(t *testing.T) {
	passed, failed := Result{Text: "a spec", State: "passed"}, Result{Text: "b spec", State: "failed", Failure: "x"}
	for _, tc := range []struct {
		name    string
		results []Result
		wantErr string
	}{
		{name: "all passed", results: []Result{passed, {Text: "b spec", State: "passed"}}},
		{name: "one failed", results: []Result{passed, failed}, wantErr: "alpha: 1 of 2 specs did not pass"},
		{name: "none ran", wantErr: "alpha: no spec ran"},
		{name: "one of the expected is missing", results: []Result{passed}, wantErr: `["b spec"]`},
		{name: "timed out", results: []Result{passed, {Text: "b spec", State: "timedout"}}, wantErr: "did not pass"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := verdict(io.Discard, "alpha", []string{"a spec", "b spec"}, tc.results)
			if tc.wantErr == "" {
				if err != nil {
					t.Error(err)
				}
			} else if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("error %v does not say %q", err, tc.wantErr)
			}
		})
	}
}

func TestSelectSpecs(t *testing.T) {
	for words, want := range map[string]int{"": len(Specs), "udp": 2, "DNS": 2, "some other spec": 1} {
		if got := selectSpecs(Specs, words); len(got) != want {
			t.Errorf("%q selects %v", words, got)
		}
	}
}

func TestSetsOfSpecs(t *testing.T) {
	short, err := Short.specs()
	if err != nil {
		t.Fatal(err)
	}
	services, err := Services.specs()
	if err != nil {
		t.Fatal(err)
	}
	if len(short) != len(Specs)+len(shortServiceSpecs)+len(shortPolicySpecs) || len(services) < 100 {
		t.Errorf("%d and %d specs", len(short), len(services))
	}
	if missing := unmatched(literally(shortServiceSpecs), prefixed(serviceSpecs)); len(missing) > 0 {
		t.Errorf("in the short list and not in the long one: %q", missing)
	}
	if missing := unmatched(literally(shortPolicySpecs), prefixed(policySpecs)); len(missing) > 0 {
		t.Errorf("in the short list and not in the long one: %q", missing)
	}
	if _, err := Set("all").specs(); err == nil || !strings.Contains(err.Error(), `"all"`) {
		t.Errorf("an unknown set: %v", err)
	}
}

// prefixed are texts as upstream has them.
func prefixed(specs []string) (texts []string) {
	for _, s := range specs {
		texts = append(texts, "[sig-network] "+s+" [Conformance]")
	}
	return texts
}

func TestASpecThatIsNewUpstreamIsNoticed(t *testing.T) {
	known := append(prefixed(slices.Concat(serviceSpecs, nativeServiceSpecs, policySpecs)), "[sig-network] LoadBalancers [Feature:LoadBalancer] should x", "[sig-network] DNS should y",
		"[sig-network] Networking Granular Checks: Services should function for pod-Service: sctp [Feature:SCTPConnectivity]",
		"[sig-network] Netpol [Feature:SCTPConnectivity] [LinuxOnly] NetworkPolicy between server and client using SCTP should x")
	if err := unlisted(known); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"[sig-network] Services should be new", "[sig-network] Netpol NetworkPolicy between server and client should be new"} {
		if err := unlisted(append(known, text)); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v", err)
		}
	}
}

func TestSpecsAreShared(t *testing.T) {
	specs := []string{"a", "b", "c", "d", "e"}
	for processes, want := range map[int][][]string{
		0: {specs}, 2: {{"a", "c", "e"}, {"b", "d"}}, 9: {{"a"}, {"b"}, {"c"}, {"d"}, {"e"}},
	} {
		if d := cmp.Diff(want, share(specs, processes)); d != "" {
			t.Errorf("%d processes: %s", processes, d)
		}
	}
}
