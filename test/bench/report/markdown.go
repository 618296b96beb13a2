// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/test/bench/target"
)

// The marks between which the tables of a page stand.
const (
	Begin = "<!-- figures: begin (made by make bench) -->"
	End   = "<!-- figures: end -->"
)

// WriteDocs puts the tables of areas' rows between the marks of a Markdown file.
func WriteDocs(path string, areas []string, rows []Row, m Machine) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(b), Begin)
	_, after, ok2 := strings.Cut(rest, End)
	if !ok || !ok2 {
		return fmt.Errorf("%s: the marks %q and %q are not both there: put them where the tables belong", path, Begin, End)
	}
	return replace(path, before+Begin+"\n"+Tables(areas, rows, m)+End+after)
}

// Tables returns the tables of areas' rows as Markdown.
func Tables(areas []string, rows []Row, m Machine) string {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r Row) bool { return !slices.Contains(areas, r.Area) })
	var b strings.Builder
	machineTable(&b, m)
	targetTable(&b, rows)
	trafficTables(&b, rows)
	return b.String()
}

func machineTable(b *strings.Builder, m Machine) {
	b.WriteString("\n### The machine\n\n| | |\n|---|---|\n")
	for _, r := range [][2]string{
		{"CPUs", fmt.Sprintf("%d, %s", m.CPUs, m.Model)},
		{"kernel", m.Kernel},
		{"Go", m.Go},
		{"congestion control", fmt.Sprintf("%s on every measured connection (the machine's default is %s)", m.CongestionControl, m.DefaultControl)},
		{"mitigations", m.Mitigations},
		{"in the kernel", m.Modules},
	} {
		fmt.Fprintf(b, "| %s | %s |\n", r[0], r[1])
	}
}

// targetTable sets each figure that has a target beside it.
func targetTable(b *strings.Builder, rows []Row) {
	b.WriteString("\n### Fairlead beside its references\n\n")
	b.WriteString("| case | subject | figure | median | 95 % interval | reference | target | |\n|---|---|---|---:|---|---:|---|---|\n")
	for _, t := range target.Table {
		found := false
		for _, r := range rows {
			if r.Case != t.Case || (t.Subject != "" && r.Subject != t.Subject) || r.Metric != metricOf(t) {
				continue
			}
			found = true
			verdict := "**missed**"
			if t.Met(r.Median) {
				verdict = "met"
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", r.Case, r.Subject, figureOf(rows, r, t), measured(r), interval(r), referenceOf(rows, t), t.Bound(t.Goal), verdict)
		}
		if !found {
			fmt.Fprintf(b, "| %s | %s | %s | | | | %s | not measured |\n", t.Case, t.Subject, metricOf(t), t.Bound(t.Goal))
		}
	}
}

func metricOf(t target.Target) string {
	if t.Reference == "" {
		return t.Metric
	}
	return RatioMetric(t.Metric, t.Reference)
}

// figureOf names the figure of a target, with the absolute value that a ratio is made of.
func figureOf(rows []Row, r Row, t target.Target) string {
	of, _, ok := splitRatio(r.Metric)
	if !ok {
		return r.Metric + ", " + r.Unit
	}
	if own, ok := find(rows, t.Case, t.Subject, of); ok {
		return fmt.Sprintf("%s %s %s, to reference", of, number(own.Median), own.Unit)
	}
	return of + ", to reference"
}

func referenceOf(rows []Row, t target.Target) string {
	if t.Reference == "" {
		return ""
	}
	if r, ok := find(rows, t.Case, t.Reference, t.Metric); ok {
		return fmt.Sprintf("%s %s %s", t.Reference, number(r.Median), r.Unit)
	}
	return t.Reference
}

func find(rows []Row, caseName, subject, metric string) (Row, bool) {
	for _, r := range rows {
		if r.Case == caseName && r.Subject == subject && r.Metric == metric {
			return r, true
		}
	}
	return Row{}, false
}

// trafficTables has a table of all figures for each case, a line a subject.
func trafficTables(b *strings.Builder, rows []Row) {
	b.WriteString("\n### All figures\n\n| case | subject | metric | unit | n | median | 95 % interval |\n|---|---|---|---|---:|---:|---|\n")
	for _, r := range rows {
		if _, _, ratio := splitRatio(r.Metric); ratio {
			continue
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %d | %s | %s |\n", r.Case, r.Subject, r.Metric, r.Unit, r.N, measured(r), interval(r))
	}
	b.WriteString("\n")
}

func measured(r Row) string { return number(r.Median) }

// interval words the interval; one sample has none.
func interval(r Row) string {
	if r.N < 2 {
		return ""
	}
	return number(r.Low) + " to " + number(r.High)
}

// number writes a figure with three digits that say something, and whole numbers whole.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
