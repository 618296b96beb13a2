// SPDX-License-Identifier: Apache-2.0

package programs

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/bpf"
)

func TestEveryProgramIsMeasured(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("loads eBPF programs: run it as root (make test-bpf)")
	}
	l, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	verified, err := l.Verified()
	if err != nil {
		t.Fatal(err)
	}
	runs, err := l.Runs()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range bpf.Programs() {
		if verified[p.Name] < 100 {
			t.Errorf("%s: %v instructions verified", p.Name, verified[p.Name])
		}
	}
	for _, name := range []string{"from_pod", "to_pod", "from_uplink", "to_uplink"} {
		i := slices.IndexFunc(runs, func(r Run) bool { return strings.HasPrefix(r.Subject, name+", ") })
		if i < 0 {
			t.Errorf("%s is run in no way", name)
			continue
		}
		samples, err := Measure(runs[i], 3)
		if err != nil || len(samples) != 3 || slices.Min(samples) < 1 || slices.Max(samples) > 100e3 {
			t.Errorf("%s: %v ns, %v", name, samples, err)
		}
	}
}

func TestTheColdRunIsLeftOut(t *testing.T) {
	durations := []time.Duration{1000, 3, 2, 1}
	r := Run{Subject: "one", Times: func(int) (time.Duration, error) {
		d := durations[0]
		durations = durations[1:]
		return d, nil
	}}
	got, err := Measure(r, 3)
	if err != nil || !slices.Equal(got, []float64{3, 2, 1}) {
		t.Errorf("got %v, %v", got, err)
	}
	broken := Run{Subject: "broken", Times: func(int) (time.Duration, error) { return 0, errors.New("no luck") }}
	if _, err := Measure(broken, 1); err == nil || !strings.Contains(err.Error(), "broken: no luck") {
		t.Errorf("got %v, want the run named", err)
	}
}
