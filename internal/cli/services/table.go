// SPDX-License-Identifier: Apache-2.0

// Package services prints what the nodes of a cluster think of its Services: all of them
// with whether the nodes agree, or one with its backends, node by node.
//
// It is pure: answers in, text out.
package services

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/fairlead-io/fairlead/internal/agent/service/view"
	"github.com/fairlead-io/fairlead/internal/cli/agents"
)

// Row is a Service as the nodes have it.
type Row struct {
	Namespace string          `json:"namespace"`
	Name      string          `json:"name"`
	Frontends []view.Frontend `json:"frontends"`
	// Nodes know it, Agree know of it what most know.
	Nodes int `json:"nodes"`
	Agree int `json:"agree"`
	// Usable and Total are endpoints at ports, as most nodes have it.
	Usable int `json:"usable"`
	Total  int `json:"total"`
	// Differ are nodes that know it otherwise, or not at all.
	Differ []string `json:"differ,omitempty"`
}

// List merges the nodes' answers about all Services. failed are nodes without a usable answer.
func List(answers []agents.Answer) (rows []Row, failed []agents.Answer) {
	type key struct{ namespace, name string }
	told := map[key]map[string]view.Service{}
	var nodes []string
	for _, a := range answers {
		var views []view.Service
		if err := decode(a, &views); err != nil {
			failed = append(failed, agents.Answer{Node: a.Node, Err: err})
			continue
		}
		nodes = append(nodes, a.Node)
		for _, v := range views {
			k := key{v.Namespace, v.Name}
			if told[k] == nil {
				told[k] = map[string]view.Service{}
			}
			told[k][a.Node] = v
		}
	}
	for k, views := range told {
		rows = append(rows, merge(k.namespace, k.name, nodes, views))
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return rows, failed
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

// merge is what most nodes say of a Service.
func merge(namespace, name string, nodes []string, views map[string]view.Service) Row {
	count := map[string]int{}
	for _, v := range views {
		count[v.Digest]++
	}
	usual := ""
	for _, n := range nodes {
		if v, ok := views[n]; ok && (usual == "" || count[v.Digest] > count[usual]) {
			usual = v.Digest
		}
	}
	row := Row{Namespace: namespace, Name: name, Nodes: len(views), Agree: count[usual]}
	for _, n := range nodes {
		v, ok := views[n]
		if !ok || v.Digest != usual {
			row.Differ = append(row.Differ, n)
			continue
		}
		if row.Frontends == nil {
			row.Frontends, row.Total = v.Frontends, v.Total
		}
		row.Usable = max(row.Usable, v.Usable)
	}
	return row
}

// PrintList writes rows as a table.
func PrintList(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "NAMESPACE\tNAME\tADDRESSES\tENDPOINTS\tNODES\tDIFFER") //nolint:errcheck // Flush says
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d/%d\t%d/%d\t%s\n", r.Namespace, r.Name, frontends(r.Frontends), r.Usable, r.Total, //nolint:errcheck // as above
			r.Agree, r.Agree+len(r.Differ), dash(strings.Join(r.Differ, ",")))
	}
	return t.Flush()
}

func dash(s string) string { return cmp.Or(s, "-") }

// frontends lists addresses briefly: three of them.
func frontends(list []view.Frontend) string {
	const most = 3
	var out []string
	for _, f := range list[:min(len(list), most)] {
		out = append(out, frontend(f))
	}
	if n := len(list) - most; n > 0 {
		out = append(out, fmt.Sprintf("+%d", n))
	}
	return dash(strings.Join(out, ","))
}

func frontend(f view.Frontend) string {
	address := f.Address
	if f.Kind == "NodePort" {
		address = "node"
		if strings.Contains(f.Address, ":") {
			address = "node6"
		}
	}
	return net.JoinHostPort(address, strconv.Itoa(int(f.Port))) + "/" + f.Protocol
}

// NodeView is what a node thinks of a Service.
type NodeView struct {
	Nodes []string `json:"nodes"`
	// View is missing where Error says why.
	View  *view.Service `json:"view,omitempty"`
	Error string        `json:"error,omitempty"`
}

// Trace groups the nodes by what they think of one Service.
func Trace(answers []agents.Answer) []NodeView {
	var out []NodeView
	place := map[string]int{}
	add := func(key, node string, v NodeView) {
		i, ok := place[key]
		if !ok {
			i = len(out)
			place[key] = i
			out = append(out, v)
		}
		out[i].Nodes = append(out[i].Nodes, node)
	}
	for _, a := range answers {
		var v view.Service
		switch err := decode(a, &v); {
		case errors.Is(err, agents.ErrNotFound):
			add("none", a.Node, NodeView{Error: "it knows no such Service"})
		case err != nil:
			add("error "+err.Error(), a.Node, NodeView{Error: err.Error()})
		default:
			add(string(a.Body), a.Node, NodeView{View: &v})
		}
	}
	return out
}

// PrintTrace writes what nodes think of a Service.
func PrintTrace(w io.Writer, views []NodeView) error {
	for i, v := range views {
		if i > 0 {
			fmt.Fprintln(w) //nolint:errcheck // the last write says
		}
		if _, err := fmt.Fprintf(w, "On %s:\n", strings.Join(v.Nodes, ", ")); err != nil {
			return err
		}
		if v.View == nil {
			fmt.Fprintf(w, "  %s\n", v.Error) //nolint:errcheck // as above
			continue
		}
		if err := printView(w, v.View); err != nil {
			return err
		}
	}
	return nil
}

func printView(w io.Writer, v *view.Service) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "  ADDRESS\tKIND\tBACKENDS INSIDE\tOUTSIDE\tAFFINITY") //nolint:errcheck // Flush says
	for _, f := range v.Frontends {
		affinity := "-"
		if f.AffinitySeconds > 0 {
			affinity = fmt.Sprintf("%d s", f.AffinitySeconds)
		}
		outside := strconv.Itoa(f.Outside)
		if f.Kind == "ClusterIP" {
			outside = "-"
		}
		fmt.Fprintf(t, "  %s\t%s\t%d\t%s\t%s\n", frontend(f), f.Kind, f.Inside, outside, affinity) //nolint:errcheck // as above
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(t, "\n  BACKEND\tPORT\tNODE\tZONE\tSTATE\tUSED") //nolint:errcheck // as above
	for _, b := range v.Backends {
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\n", net.JoinHostPort(b.Address, strconv.Itoa(int(b.Port))), //nolint:errcheck // as above
			dash(b.PortName)+"/"+b.Protocol, dash(b.Node), dash(b.Zone), condition(b), use(b))
	}
	if len(v.Backends) == 0 {
		fmt.Fprintln(t, "  none: connections are refused at once") //nolint:errcheck // as above
	}
	return t.Flush()
}

// condition is an endpoint's state in one word.
func condition(b view.Backend) string {
	switch {
	case b.Terminating && b.Serving:
		return "terminating"
	case b.Terminating:
		return "ended"
	case b.Ready:
		return "ready"
	}
	return "not ready"
}

func use(b view.Backend) string {
	switch {
	case b.Inside && b.Outside:
		return "yes"
	case b.Inside:
		return "by clients on the node"
	case b.Outside:
		return "from outside"
	}
	return "no: " + b.Why
}
