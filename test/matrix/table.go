// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Failed returns the cells that did not succeed.
func Failed(cells []Cell) []Cell {
	return slices.DeleteFunc(slices.Clone(cells), func(c Cell) bool { return c.OK })
}

// Print writes one line a kind of path and, per family, how many of its attempts
// succeeded; then each failure. by has the cells of each cluster.
func Print(w io.Writer, clusters []string, by map[string][]Cell) {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprint(tw, "PATH") //nolint:errcheck // the tabwriter keeps the error for Flush
	for _, c := range clusters {
		fmt.Fprintf(tw, "\t%s IPv4\t%s IPv6", c, c) //nolint:errcheck // as above
	}
	fmt.Fprintln(tw) //nolint:errcheck // as above
	for _, kind := range Kinds {
		fmt.Fprint(tw, kind) //nolint:errcheck // as above
		for _, c := range clusters {
			for _, family := range []string{"IPv4", "IPv6"} {
				fmt.Fprint(tw, "\t", count(by[c], kind, family)) //nolint:errcheck // as above
			}
		}
		fmt.Fprintln(tw) //nolint:errcheck // as above
	}
	_ = tw.Flush()
	for _, c := range clusters {
		for _, f := range Failed(by[c]) {
			_, _ = fmt.Fprintf(w, "FAILED %s: %s %s %s from %s to %s: %s\n", c, f.Kind, f.Family, f.Proto, f.From, f.To, f.Error)
		}
	}
}

func count(cells []Cell, kind, family string) string {
	ok, all := 0, 0
	for _, c := range cells {
		if c.Kind != kind || (c.Family != family && c.Family != "-") {
			continue
		}
		all++
		if c.OK {
			ok++
		}
	}
	switch {
	case all == 0:
		return "-"
	case ok == all:
		return fmt.Sprintf("ok %d/%d", ok, all)
	}
	return fmt.Sprintf("FAIL %d/%d", ok, all)
}
