// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// maxNotReady bounds the clusters that are listed when not all are asked for.
const maxNotReady = 10

// maxMessage bounds a message in a table, in characters.
const maxMessage = 120

// Options say how a fleet is printed.
type Options struct {
	// All lists every cluster, not only those that are not Ready.
	All bool
	// Now is the time that ages are reckoned from.
	Now time.Time
}

// Print writes the fleet: each stack with its waves, then clusters.
func Print(w io.Writer, f Fleet, o Options) error {
	if len(f.Stacks) == 0 {
		_, err := fmt.Fprintln(w, "There is no NetworkStack here: look into all namespaces (--all-namespaces), or apply one.")
		return err
	}
	for i := range f.Stacks {
		if err := PrintStack(w, &f.Stacks[i], o.Now); err != nil {
			return err
		}
	}
	if o.All {
		return printAll(w, f, o.Now)
	}
	return printNotReady(w, f)
}

// PrintStack writes a stack with its waves.
func PrintStack(w io.Writer, s *Stack, now time.Time) error {
	proven, clusters := s.Progress()
	fmt.Fprintf(w, "%s/%s  %s  %s  %s %d/%d clusters proven%s\n", s.Namespace, s.Name, cmp.Or(s.Version, "-"), s.Phase(), //nolint:errcheck // the table's Flush says
		Bar(proven, clusters), proven, clusters, since(s.Rollout, now))
	for _, line := range remarks(s) {
		fmt.Fprintln(w, "  "+line) //nolint:errcheck // as above
	}
	return PrintWaves(w, s.Rollout.Waves)
}

// remarks are what a person must know before the numbers.
func remarks(s *Stack) (out []string) {
	if !s.Current {
		out = append(out, "the operator has not seen the newest change of the spec yet; this is about the one before")
	}
	if b := s.Rollout.Breach; b != nil {
		out = append(out, "breach: "+Breach(b))
	}
	switch {
	case s.Rollout.Message != "":
		out = append(out, s.Rollout.Message)
	case !s.Ready && s.Message != "":
		out = append(out, s.Reason+": "+s.Message)
	}
	return out
}

// Breach says why a rollout was stopped.
func Breach(b *v1alpha1.Breach) string {
	where := "cluster " + b.Cluster
	if b.Node != "" {
		where += ", node " + b.Node
	}
	if b.Probe != "" {
		where += ", probe " + b.Probe
	}
	return fmt.Sprintf("%s: %s: %s", where, b.Reason, b.Message)
}

// PrintWaves writes a table of waves, nothing when there is none.
func PrintWaves(w io.Writer, waves []v1alpha1.WaveStatus) error {
	if len(waves) == 0 {
		_, err := fmt.Fprintln(w)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  WAVE\tPHASE\tCLUSTERS\tPROVEN\tUPDATING\tWAITING\tAWAY\tHELD\tFAILED") //nolint:errcheck // Flush says
	for _, v := range waves {
		fmt.Fprintf(t, "  %s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", v.Name, v.Phase, v.Clusters, v.Proven, v.Updating, v.Waiting, v.Away, v.Held, v.Failed) //nolint:errcheck // as above
	}
	fmt.Fprintln(t) //nolint:errcheck // as above
	return t.Flush()
}

func since(r v1alpha1.RolloutStatus, now time.Time) string {
	switch {
	case r.FinishedAt != nil:
		return ", ended " + duration.HumanDuration(now.Sub(r.FinishedAt.Time)) + " ago"
	case r.StartedAt != nil:
		return ", begun " + duration.HumanDuration(now.Sub(r.StartedAt.Time)) + " ago"
	}
	return ""
}

// barWidth is the width of a bar between its brackets.
const barWidth = 20

// Bar draws a share. It is full only when the share is whole, and never empty when
// something is done.
func Bar(done, of int32) string {
	filled := 0
	if of > 0 {
		filled = int(int64(done) * barWidth / int64(of))
	}
	if filled == 0 && done > 0 {
		filled = 1
	}
	return "[" + strings.Repeat("#", filled) + strings.Repeat("-", barWidth-filled) + "]"
}

func printNotReady(w io.Writer, f Fleet) error {
	var not []Cluster
	for _, c := range f.Clusters {
		if !c.Ready {
			not = append(not, c)
		}
	}
	if len(not) == 0 {
		_, err := fmt.Fprintf(w, "All of %d clusters are Ready.\n", len(f.Clusters))
		return err
	}
	fmt.Fprintf(w, "%d of %d clusters are not Ready:\n", len(not), len(f.Clusters)) //nolint:errcheck // Flush says
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  CLUSTER\tSTACK\tWAVE\tREASON\tMESSAGE") //nolint:errcheck // Flush says
	for _, c := range not[:min(len(not), maxNotReady)] {
		fmt.Fprintf(t, "  %s/%s\t%s\t%s\t%s\t%s\n", c.Namespace, c.Name, c.Stack, dash(c.Wave), dash(c.Reason), shorten(c.Message)) //nolint:errcheck // as above
	}
	if err := t.Flush(); err != nil || len(not) <= maxNotReady {
		return err
	}
	_, err := fmt.Fprintf(w, "  and %d more; --all lists every cluster\n", len(not)-maxNotReady)
	return err
}

func printAll(w io.Writer, f Fleet, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CLUSTER\tSTACK\tWAVE\tVERSION\tPROVEN\tNODES\tPHASE\tREADY\tREASON\tAGE") //nolint:errcheck // Flush says
	for i := range f.Clusters {
		c := &f.Clusters[i]
		fmt.Fprintf(t, "%s/%s\t%s\t%s\t%s\t%s\t%d/%d\t%s\t%t\t%s\t%s\n", c.Namespace, c.Name, c.Stack, dash(c.Wave), dash(c.Version), dash(c.Proven), //nolint:errcheck // as above
			c.Up, c.Nodes, c.state(), c.Ready, dash(c.Reason), cmp.Or(c.Age, duration.HumanDuration(now.Sub(c.Created))))
	}
	return t.Flush()
}

func dash(s string) string { return cmp.Or(s, "-") }

// shorten keeps a message on a line.
func shorten(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > maxMessage {
		return string(r[:maxMessage-3]) + "..."
	}
	return dash(s)
}
