// SPDX-License-Identifier: Apache-2.0

// Package report keeps the benchmark's figures: the JSON file that all areas share, and
// the tables in the documentation that are made from it.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead-io/fairlead/test/bench/stats"
)

// Row is a figure of a subject.
type Row struct {
	// Area is who measured it; an area replaces its own rows only.
	Area string `json:"area"`
	// Case is what was done, for example "tcp_rr".
	Case string `json:"case"`
	// Subject is what it was done with, for example "bridge".
	Subject string `json:"subject"`
	// Metric is which figure of the case it is. One of the form "p50 / veth" is the
	// ratio to that subject's p50 of the same round.
	Metric string `json:"metric"`
	Unit   string `json:"unit"`
	// N is how many samples Median, Low and High are made of.
	N      int     `json:"n"`
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// NewRow makes a row of a summary.
func NewRow(area, caseName, subject, metric, unit string, s stats.Summary) Row {
	return Row{Area: area, Case: caseName, Subject: subject, Metric: metric, Unit: unit, N: s.N, Median: s.Value, Low: s.Low, High: s.High}
}

// RatioUnit is the unit of ratios between subjects.
const RatioUnit = "ratio"

// RatioMetric names the ratio of a metric to that of another subject.
func RatioMetric(metric, reference string) string { return metric + " / " + reference }

// splitRatio undoes RatioMetric.
func splitRatio(metric string) (of, reference string, ok bool) {
	return strings.Cut(metric, " / ")
}

// Merge replaces the rows of an area.
func Merge(have []Row, area string, rows []Row) []Row {
	out := []Row{}
	for _, r := range have {
		if r.Area != area {
			out = append(out, r)
		}
	}
	return append(out, rows...)
}

// Read returns the rows of a file; none when there is no file.
func Read(path string) ([]Row, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rows []Row
	if err := json.Unmarshal(b, &rows); err != nil {
		return nil, fmt.Errorf("%s: %w (remove it, or give another file with -o)", path, err)
	}
	return rows, nil
}

// Update replaces an area's rows in a file, which is exchanged as a whole.
func Update(path, area string, rows []Row) error {
	have, err := Read(path)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("[")
	for i, r := range Merge(have, area, rows) {
		line, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", r.Case, r.Subject, err)
		}
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n  ")
		b.Write(line)
	}
	b.WriteString("\n]\n")
	return replace(path, b.String())
}

func replace(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", []byte(content), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
