// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// Result is what became of one spec.
type Result struct {
	Text    string // The whole text: containers and leaf.
	State   string // passed, failed, skipped, ...
	Took    time.Duration
	Failure string // First line of the message.
}

// parseTexts reads the texts of all specs of a report, whether they ran or not.
func parseTexts(raw []byte) ([]string, error) {
	var suites []struct {
		SpecReports []struct {
			ContainerHierarchyTexts []string
			LeafNodeType            string
			LeafNodeText            string
		}
	}
	if err := json.Unmarshal(raw, &suites); err != nil {
		return nil, fmt.Errorf("the report of the specs cannot be read: %w", err)
	}
	var texts []string
	for _, suite := range suites {
		for _, s := range suite.SpecReports {
			if s.LeafNodeType == "It" {
				texts = append(texts, strings.Join(append(s.ContainerHierarchyTexts, s.LeafNodeText), " "))
			}
		}
	}
	return texts, nil
}

// parseReport reads the JSON report of the test binary and keeps the specs that ran, or should have.
func parseReport(raw []byte) ([]Result, error) {
	var suites []struct {
		SpecReports []struct {
			ContainerHierarchyTexts []string
			LeafNodeType            string
			LeafNodeText            string
			State                   string
			RunTime                 time.Duration
			Failure                 struct{ Message string }
		}
	}
	if err := json.Unmarshal(raw, &suites); err != nil {
		return nil, fmt.Errorf("the report of the specs cannot be read: %w", err)
	}
	var results []Result
	for _, suite := range suites {
		for _, s := range suite.SpecReports {
			setUp := s.LeafNodeType != "It"
			if s.State == "skipped" && s.RunTime == 0 || setUp && s.State == "passed" {
				continue // Not in focus; or a hook of the suite that did its work.
			}
			message, _, _ := strings.Cut(strings.TrimSpace(s.Failure.Message), "\n")
			text := strings.Join(append(s.ContainerHierarchyTexts, s.LeafNodeText), " ")
			if setUp {
				text = strings.TrimSpace(s.LeafNodeType + " " + text)
			}
			results = append(results, Result{Text: text, State: s.State, Took: s.RunTime, Failure: message})
		}
	}
	return results, nil
}

// verdict prints the results and says what is wrong with them, if anything.
func verdict(out io.Writer, cluster string, expressions []string, results []Result) error {
	var texts, failed []string
	for _, r := range results {
		fmt.Fprintf(out, "  %-8s %6s  %s\n", r.State, r.Took.Round(100*time.Millisecond), r.Text)
		if r.Failure != "" {
			fmt.Fprintf(out, "                   %s\n", r.Failure)
		}
		if r.State == "passed" {
			texts = append(texts, r.Text)
		} else {
			failed = append(failed, r.Text)
		}
	}
	switch missing := unmatched(expressions, texts); {
	case len(failed) > 0:
		return fmt.Errorf("%s: %d of %d specs did not pass", cluster, len(failed), len(results))
	case len(results) == 0:
		return fmt.Errorf("%s: no spec ran", cluster)
	case len(missing) > 0:
		return fmt.Errorf("%s: no spec that passed matches %q", cluster, missing)
	}
	return nil
}
