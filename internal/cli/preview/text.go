// SPDX-License-Identifier: Apache-2.0

package preview

import (
	"cmp"
	"fmt"
	"io"
	"strings"
)

// maxNames bounds the clusters that a line names.
const maxNames = 8

// Changes says whether applying the stack would change any cluster.
func (r *Result) Changes() bool {
	for action, n := range r.count() {
		if n > 0 && action.Changes() {
			return true
		}
	}
	return false
}

func (r *Result) all() (out []Cluster) {
	for _, w := range r.Waves {
		out = append(out, w.Clusters...)
	}
	return append(out, r.Others...)
}

func (r *Result) count() map[Action]int {
	n := map[Action]int{}
	for _, c := range r.all() {
		n[c.Action]++
	}
	return n
}

// Print writes the result for people.
func Print(w io.Writer, r *Result) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("NetworkStack %s/%s: %s", r.Namespace, r.Stack, headline(r))
	for _, refusal := range r.Refusals {
		line("  refused: %s", refusal)
	}
	if len(r.Refusals) > 0 {
		line("  Nothing would change: what is installed stays.")
	}
	for _, note := range r.Notes {
		line("  note: %s", note)
	}
	for _, wave := range r.Waves {
		approval := ""
		if wave.Approval {
			approval = ", begins when it is approved"
		}
		line("\nWave %s (%s%s)", wave.Name, clusters(len(wave.Clusters)), approval)
		printGroups(line, wave.Clusters)
	}
	if len(r.Others) > 0 {
		line("\nNot in a wave")
		printGroups(line, r.Others)
	}
	line("\n%s", summary(r))
	_, err := io.WriteString(w, b.String())
	return err
}

func headline(r *Result) string {
	switch {
	case r.New:
		return "new, version " + r.Version
	case r.From != "" && r.From != r.Version && r.Version != "":
		return r.From + " -> " + r.Version
	}
	return "version " + cmp.Or(r.Version, r.From, "-")
}

// printGroups writes clusters that the same becomes of as one.
func printGroups(line func(string, ...any), all []Cluster) {
	var order []string
	groups := map[string][]Cluster{}
	for _, c := range all {
		key := fmt.Sprint(c.Action, c.Why, c.Changes, c.Away)
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], c)
	}
	for _, key := range order {
		group := groups[key]
		first := group[0]
		why := ""
		if first.Why != "" {
			why = " (" + first.Why + ")"
		}
		if first.Away && first.Action.Changes() {
			why += " (away: follows when its API server answers)"
		}
		line("  %s: %s%s", does(first.Action), names(group), why)
		for _, f := range first.Changes {
			line("      %s: %s -> %s: %s", f.Field, f.From, f.To, f.Effect)
		}
	}
}

func does(a Action) string {
	return map[Action]string{
		Install: "+ install", Update: "~ update", Take: "~ take", Keep: "  unchanged", Pinned: "  pinned", Leave: "  left alone",
		HandOver: "- hand over", Uninstall: "- uninstall", Refused: "! refused",
	}[a]
}

func names(group []Cluster) string {
	out := make([]string, 0, maxNames)
	for _, c := range group[:min(len(group), maxNames)] {
		out = append(out, c.Name)
	}
	text := strings.Join(out, ", ")
	if more := len(group) - maxNames; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func clusters(n int) string {
	if n == 1 {
		return "1 cluster"
	}
	return fmt.Sprintf("%d clusters", n)
}

func summary(r *Result) string {
	n := r.count()
	var restarts int32
	away := 0
	for _, c := range r.all() {
		restarts += c.Restarts
		if c.Away {
			away++
		}
	}
	text := fmt.Sprintf("%s: %d to install, %d to update, %d to take, %d to hand over, %d to uninstall, %d unchanged, %d pinned, %d refused; %d away.",
		clusters(len(r.all())), n[Install], n[Update], n[Take], n[HandOver], n[Uninstall], n[Keep]+n[Leave], n[Pinned], n[Refused], away)
	if restarts > 0 {
		text += fmt.Sprintf(" Agents restart on %d nodes; pods keep their network.", restarts)
	}
	return text
}
