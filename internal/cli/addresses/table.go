// SPDX-License-Identifier: Apache-2.0

// Package addresses prints which numbers and addresses the clusters of a fleet hold, and what
// is left of each.
//
// It is pure: FleetPools in, text out.
package addresses

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// Pool is what is known of a FleetPool.
type Pool struct {
	Namespace string                    `json:"namespace"`
	Name      string                    `json:"name"`
	Ready     bool                      `json:"ready"`
	Message   string                    `json:"message,omitempty"`
	Usage     []v1alpha1.PoolUsage      `json:"usage,omitempty"`
	Holdings  []v1alpha1.Holding        `json:"holdings,omitempty"`
	Waiting   []v1alpha1.WaitingCluster `json:"waiting,omitempty"`
	// Quarantine is how long what a cluster gave back rests.
	Quarantine time.Duration `json:"-"`
}

// defaultQuarantine is the API's default.
const defaultQuarantine = time.Hour

// Of reads FleetPools, sorted by namespace and name.
func Of(in []v1alpha1.FleetPool) []Pool {
	out := make([]Pool, 0, len(in))
	for i := range in {
		p := &in[i]
		one := Pool{Namespace: p.Namespace, Name: p.Name, Usage: p.Status.Usage, Holdings: p.Status.Holdings, Waiting: p.Status.Waiting, Quarantine: defaultQuarantine}
		if p.Spec.Quarantine != nil {
			one.Quarantine = p.Spec.Quarantine.Duration
		}
		if c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionReady); c != nil && c.ObservedGeneration == p.Generation {
			one.Ready, one.Message = c.Status == "True", c.Message
		} else {
			one.Message = "the operator has not seen the newest change yet: is it running?"
		}
		if c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.ConditionDisjoint); c != nil && c.Status == "False" {
			one.Message += "; " + c.Message
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b Pool) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// Print writes pools as tables. clusters says whether what each cluster holds is listed.
func Print(w io.Writer, pools []Pool, clusters bool, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for i := range pools {
		p := &pools[i]
		if i > 0 {
			fmt.Fprintln(t) //nolint:errcheck // Flush says
		}
		fmt.Fprintf(t, "%s/%s: %s\n", p.Namespace, p.Name, p.Message) //nolint:errcheck // as above
		if len(p.Usage) > 0 {
			usage(t, p)
		}
		if clusters && len(p.Holdings) > 0 {
			holdings(t, p, now)
		}
		for _, c := range p.Waiting {
			fmt.Fprintf(t, "waiting: %s\n", c.Message) //nolint:errcheck // as above
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return t.Flush()
}

func usage(w io.Writer, p *Pool) {
	fmt.Fprintln(w, "\nCLASS\tUSE\tFAMILY\tLENGTH\tTOTAL\tUSED\tRESTING\tFREE\tRUNS OUT") //nolint:errcheck // Flush says
	for _, u := range p.Usage {
		runsOut := "-"
		if u.RunsOut != nil {
			runsOut = u.RunsOut.UTC().Format(time.DateOnly)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t/%d\t%s\t%s\t%d\t%s\t%s\n", u.Class, u.Use, u.Family, u.Length, //nolint:errcheck // as above
			number(u.Total), number(u.Total-u.Free-u.Resting), u.Resting, number(u.Free), runsOut)
	}
}

// number is a count; IPv6 has more of some than a table has room for.
func number(n int64) string {
	if n >= 1<<24 {
		return fmt.Sprintf("2^%.0f", math.Log2(float64(n)))
	}
	return fmt.Sprint(n)
}

func holdings(w io.Writer, p *Pool, now time.Time) {
	fmt.Fprintln(w, "\nCLUSTER\tID\tPODS\tSERVICES\tLOAD BALANCERS\tSINCE\tSTATE") //nolint:errcheck // Flush says
	for _, h := range p.Holdings {
		state := "held"
		if h.Freed != nil {
			state = "rests for " + h.Freed.Add(p.Quarantine).Sub(now).Round(time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", h.Cluster, h.ID, list(h.Pods), list(h.Services), list(h.LoadBalancers), //nolint:errcheck // as above
			h.Since.UTC().Format(time.DateOnly), state)
	}
}

func list(s []string) string { return cmp.Or(strings.Join(s, ","), "-") }
