// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/test/bench/report"
)

// rows are what a test measured.
type rows struct {
	t   *testing.T
	n   int
	all []report.Row
}

// add records a figure of a case.
func (r *rows) add(caseName, metric, unit string, value float64) {
	r.t.Helper()
	r.t.Logf("%-12s %-26s %10.3f %s", caseName, metric, value, unit)
	r.all = append(r.all, report.Row{
		Area: r.area(), Case: fmt.Sprintf("%s_%d", caseName, r.n), Subject: "fairlead", Metric: metric, Unit: unit,
		N: 1, Median: value, Low: value, High: value,
	})
}

// times records the median and the longest of some times.
func (r *rows) times(caseName string, took []time.Duration) {
	r.t.Helper()
	if len(took) == 0 {
		r.t.Fatalf("%s: nothing was timed", caseName)
	}
	slices.Sort(took)
	r.add(caseName, "p50", "s", took[len(took)/2].Seconds())
	r.add(caseName, "max", "s", took[len(took)-1].Seconds())
}

// area is whose rows these are: those of a test take the place of its earlier ones.
func (r *rows) area() string { return strings.ToLower(strings.TrimPrefix(r.t.Name(), "Test")) }

// write adds the rows to a file, when FAIRLEAD_BIRTH_OUT names one.
func (r *rows) write() {
	r.t.Helper()
	if out := os.Getenv("FAIRLEAD_BIRTH_OUT"); out != "" {
		if err := report.Update(out, r.area(), r.all); err != nil {
			r.t.Fatal(err)
		}
	}
}

// howMany is how many clusters a test has: what a variable says, else one of two numbers.
func howMany(variable string, full, short int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil && n > 0 {
		return n
	}
	if testing.Short() {
		return short
	}
	return full
}
