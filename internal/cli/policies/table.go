// SPDX-License-Identifier: Apache-2.0

// Package policies prints what the nodes of a cluster enforce on their pods, and what they
// have dropped.
//
// It is pure: answers in, text out.
package policies

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/fairlead-io/fairlead/internal/agent/policy/view"
	"github.com/fairlead-io/fairlead/internal/cli/agents"
)

// Nodes reads the nodes' answers, sorted by node. failed are nodes without a usable answer.
func Nodes(answers []agents.Answer) (nodes []view.Node, failed []agents.Answer) {
	for _, a := range answers {
		var v view.Node
		if err := decode(a, &v); err != nil {
			failed = append(failed, agents.Answer{Node: a.Node, Err: err})
			continue
		}
		v.Node = a.Node
		nodes = append(nodes, v)
	}
	return nodes, failed
}

func decode(a agents.Answer, into any) error {
	if a.Err != nil {
		return a.Err
	}
	if err := json.Unmarshal(a.Body, into); err != nil {
		return fmt.Errorf("its answer cannot be read: %w; is its agent of another release?", err)
	}
	return nil
}

// InNamespace leaves out the pods of other namespaces.
func InNamespace(nodes []view.Node, namespace string) []view.Node {
	for i := range nodes {
		nodes[i].Pods = slices.DeleteFunc(nodes[i].Pods, func(p view.Pod) bool { return !strings.HasPrefix(p.Pod, namespace+"/") })
	}
	return nodes
}

// Print writes what nodes enforce: the pods that something is enforced on, and what is wrong.
func Print(w io.Writer, nodes []view.Node) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NODE\tPOD\tINGRESS\tEGRESS\tPOLICIES") //nolint:errcheck // Flush says
	open := 0
	for _, n := range nodes {
		for _, p := range n.Pods {
			if !p.Ingress && !p.Egress && len(p.Policies) == 0 {
				open++
				continue
			}
			policies := strings.Join(p.Policies, ", ")
			if p.Closed != "" {
				policies = p.Closed
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", n.Node, p.Pod, state(p.Ingress, p.Closed), state(p.Egress, p.Closed), cmp.Or(policies, "-")) //nolint:errcheck // as above
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "\n%d pods without policies are not listed.\n", open); err != nil {
		return err
	}
	return printFaults(w, nodes)
}

func state(policed bool, closed string) string {
	switch {
	case closed != "":
		return "closed"
	case policed:
		return "policed"
	}
	return "open"
}

// nearlyFull is the percentage of a map from which it is told of.
const nearlyFull = 90

// printFaults names the nodes on which not all is in force, and maps that are nearly full.
func printFaults(w io.Writer, nodes []view.Node) error {
	for _, n := range nodes {
		if !n.InForce {
			if _, err := fmt.Fprintf(w, "node %s: not all is in force: %s\n", n.Node, n.NotInForce); err != nil {
				return err
			}
		}
		for _, m := range n.Maps {
			if m.Max > 0 && 100*m.Used/m.Max >= nearlyFull {
				if _, err := fmt.Fprintf(w, "node %s: map %s has %d of %d rows in use\n", n.Node, m.Name, m.Used, m.Max); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Drops merges the nodes' last drops, the latest first.
func Drops(answers []agents.Answer) (drops []view.Drop, failed []agents.Answer) {
	drops = []view.Drop{}
	for _, a := range answers {
		var list []view.Drop
		if err := decode(a, &list); err != nil {
			failed = append(failed, agents.Answer{Node: a.Node, Err: err})
			continue
		}
		for _, d := range list {
			d.Node = a.Node
			drops = append(drops, d)
		}
	}
	slices.SortStableFunc(drops, func(a, b view.Drop) int { return b.At.Compare(a.At) })
	return drops, failed
}

// PrintDrops writes drops as a table.
func PrintDrops(w io.Writer, drops []view.Drop) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "TIME\tNODE\tDIRECTION\tFROM\tTO\tPROTOCOL\tBYTES\tWHY") //nolint:errcheck // Flush says
	for _, d := range drops {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", d.At.UTC().Format(time.RFC3339), d.Node, cmp.Or(d.Direction, "-"), //nolint:errcheck // as above
			d.Source, d.Destination, d.Protocol, d.Bytes, cmp.Or(d.Why, d.Hook+": "+d.Reason))
	}
	return t.Flush()
}
