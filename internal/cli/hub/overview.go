// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/cli/status"
)

// manyNamespaces is how many namespaces are asked one by one; more are asked at once.
const manyNamespaces = 16

// Overview is Fleet out of the table that the API server makes of ClusterStacks: what takes
// it 130 ms as a list of a thousand objects takes it 20 ms as their columns.
func (c *Client) Overview(ctx context.Context, q Query) (status.Fleet, error) {
	var stacks stackList
	if err := c.do(ctx, q.of(networkStacks), &stacks); err != nil {
		return status.Fleet{}, err
	}
	f := status.Fleet{}
	namespaces := map[string]bool{}
	for i := range stacks.Items {
		f.Stacks = append(f.Stacks, status.StackOf(&stacks.Items[i]))
		namespaces[stacks.Items[i].Namespace] = true
	}
	if len(namespaces) > manyNamespaces {
		return c.Fleet(ctx, q)
	}
	names := slices.Sorted(maps.Keys(namespaces))
	tables := make([]table, len(names))
	group, groupCtx := errgroup.WithContext(ctx)
	for i, namespace := range names {
		group.Go(func() error { return c.do(groupCtx, Query{Namespace: namespace, Stack: q.Stack}.table(), &tables[i]) })
	}
	if err := group.Wait(); err != nil {
		return status.Fleet{}, err
	}
	for i := range tables {
		clusters, ok := tables[i].clusters(names[i])
		if !ok {
			// The CRD is of another release.
			return c.Fleet(ctx, q)
		}
		f.Clusters = append(f.Clusters, clusters...)
	}
	f.Sort()
	return f, nil
}

func (q Query) table() request {
	r := q.of(clusterStacks)
	r.accept = "application/json;as=Table;g=meta.k8s.io;v=v1"
	r.query.Set("includeObject", "None")
	return r
}

// table is a list of objects as their CRD's columns.
type table struct {
	Columns []struct {
		Name string `json:"name"`
	} `json:"columnDefinitions"`
	Rows []struct {
		Cells []any `json:"cells"`
	} `json:"rows"`
}

// columns are those of ClusterStack (api/v1alpha1) that are shown.
var columns = []string{
	"Name", "Stack", "Wave", "Version", "Proven", "Nodes", "Up", "Ready", "Reason", "Message", "Age",
	"Phase", "Connected", "Pinned", "Deleted", "Generation", "Observed",
}

// clusters reads the rows; it is false when a column is not there.
func (t *table) clusters(namespace string) ([]status.Cluster, bool) {
	place := map[string]int{}
	for i, c := range t.Columns {
		place[c.Name] = i
	}
	for _, name := range columns {
		if _, ok := place[name]; !ok {
			return nil, false
		}
	}
	out := make([]status.Cluster, 0, len(t.Rows))
	for _, r := range t.Rows {
		if len(r.Cells) != len(t.Columns) {
			return nil, false
		}
		text := func(name string) string {
			if cell := r.Cells[place[name]]; cell != nil {
				return fmt.Sprint(cell)
			}
			return ""
		}
		number := func(name string) (n int64) {
			// What is no number is 0, as an absent one is.
			_ = json.Unmarshal([]byte(text(name)), &n)
			return n
		}
		one := status.Cluster{
			Namespace: namespace, Name: text("Name"), Stack: text("Stack"), Wave: text("Wave"), Version: text("Version"), Proven: text("Proven"),
			Nodes: int32(number("Nodes")), Up: int32(number("Up")), Phase: v1alpha1.UpdatePhase(text("Phase")), Age: text("Age"),
			Away: text("Connected") == "False", Pinned: text("Pinned") == "true", Deleting: text("Deleted") != "",
		}
		one.Judge(text("Ready") == "True", number("Observed") == number("Generation"), text("Reason"), text("Message"))
		out = append(out, one)
	}
	return out, true
}
