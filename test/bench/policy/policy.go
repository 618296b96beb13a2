// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/bench/programs"
	"github.com/fairlead-io/fairlead/test/bench/report"
	"github.com/fairlead-io/fairlead/test/bench/stats"
	"github.com/fairlead-io/fairlead/test/bench/target"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// Area is what the rows belong to.
const Area = "policy"

// warmUp are changes that are not counted: policies before them may still be on their way.
const warmUp = 4

// Options say how much is measured.
type Options struct {
	Cluster string
	// Changes is how many of each kind are made; 0 measures established flows alone.
	Changes int
	// Policies are the numbers of policies of a pod beside which changes are measured.
	Policies []int
	// Established are those beside which an established flow is.
	Established []int
	Out         func(format string, args ...any)
}

// Measure runs all cases on a lab that is up and returns their rows.
func Measure(ctx context.Context, lab *testkit.Lab, o Options) (rows []report.Row, err error) {
	w, err := newWorld(ctx, lab, o.Cluster, o.Out)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if o.Changes > 0 {
		if rows, err = w.allChanges(ctx, o); err != nil {
			return nil, err
		}
	}
	for _, n := range o.Established {
		ns, err := w.established(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("established flow beside %d policies: %w", n, err)
		}
		name := fmt.Sprintf("%s_%d", target.PolicyEstablished, n)
		rows = append(rows, report.NewRow(Area, name, target.Fairlead, target.RunTime, "ns", stats.Median(ns)))
		w.out("%s: %.0f ns a packet", name, stats.Median(ns).Value)
	}
	return rows, nil
}

// allChanges are the rows of what is changed.
func (w *world) allChanges(ctx context.Context, o Options) (rows []report.Row, err error) {
	first, last, err := w.firstAndLast(ctx, o.Changes)
	if err != nil {
		return nil, fmt.Errorf("first and last policy: %w", err)
	}
	rows = append(times(w, target.PolicyFirst, first), times(w, target.PolicyLast, last)...)
	for _, n := range o.Policies {
		policies, labels, err := w.changes(ctx, n, o.Changes)
		if err != nil {
			return nil, fmt.Errorf("changes beside %d policies: %w", n, err)
		}
		rows = append(rows, times(w, fmt.Sprintf("%s_%d", target.PolicyChange, n), policies)...)
		rows = append(rows, times(w, fmt.Sprintf("%s_%d", target.PolicyLabel, n), labels)...)
	}
	return rows, nil
}

// times are the rows of a case whose samples are in ms.
func times(w *world, name string, ms []float64) []report.Row {
	p50, p99 := stats.Median(ms), stats.Quantile(ms, 0.99)
	w.out("%s: p50 %.1f ms, p99 %.1f ms of %d", name, p50.Value, p99.Value, len(ms))
	return []report.Row{
		report.NewRow(Area, name, target.Fairlead, "p50", "ms", p50),
		report.NewRow(Area, name, target.Fairlead, "p99", "ms", p99),
	}
}

// firstAndLast gives pods without policies one that lets nobody in, and takes it away.
func (w *world) firstAndLast(ctx context.Context, n int) (first, last []float64, err error) {
	deny := policyFor("only", "nobody", testkit.MainPort)
	for range n {
		ms, err := w.timed(ctx, false, func(ctx context.Context) error { return w.c.Create(ctx, deny.DeepCopy()) })
		if err != nil {
			return nil, nil, err
		}
		first = append(first, ms)
		if ms, err = w.timed(ctx, true, func(ctx context.Context) error { return w.c.Delete(ctx, deny.DeepCopy()) }); err != nil {
			return nil, nil, err
		}
		last = append(last, ms)
	}
	return first, last, nil
}

// changes moves a policy's port away and back, and then takes the client's label away and gives it
// back, while the servers have so many policies.
func (w *world) changes(ctx context.Context, policies, n int) (ports, labels []float64, err error) {
	if err := errors.Join(w.label(ctx, true), w.crowd(ctx, policies-1), w.c.Create(ctx, policyFor("gate", "yes", testkit.MainPort))); err != nil {
		return nil, nil, err
	}
	if _, err := w.await(ctx, true); err != nil {
		return nil, nil, err
	}
	if ports, err = w.toggle(ctx, n, w.move); err != nil {
		return nil, nil, err
	}
	if labels, err = w.toggle(ctx, n, w.label); err != nil {
		return nil, nil, err
	}
	return ports, labels, w.clear(ctx)
}

// toggle closes the paths and opens them, n times in all.
func (w *world) toggle(ctx context.Context, n int, set func(context.Context, bool) error) (ms []float64, err error) {
	for i := range 2 * ((n + warmUp) / 2) {
		open := i%2 == 1
		one, err := w.timed(ctx, open, func(ctx context.Context) error { return set(ctx, open) })
		if err != nil {
			return nil, err
		}
		if i >= warmUp {
			ms = append(ms, one)
		}
	}
	return ms, nil
}

// move lets the policy allow the port that packets go to, or another.
func (w *world) move(ctx context.Context, open bool) error {
	port := intstr.FromInt32(testkit.SidePort)
	if open {
		port = intstr.FromInt32(testkit.MainPort)
	}
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "gate"}}
	return w.c.Patch(ctx, p, client.RawPatch("application/json-patch+json",
		fmt.Appendf(nil, `[{"op":"replace","path":"/spec/ingress/0/ports/0/port","value":%d}]`, port.IntVal)))
}

// established is how long all programs took for a packet of established flows, in ns, five times.
func (w *world) established(ctx context.Context, policies int) (ns []float64, err error) {
	if policies > 0 {
		if err := errors.Join(w.label(ctx, true), w.crowd(ctx, policies-1), w.c.Create(ctx, policyFor("gate", "yes", testkit.MainPort))); err != nil {
			return nil, err
		}
	}
	if _, err := w.await(ctx, true); err != nil {
		return nil, err
	}
	for range 5 {
		one, err := programs.Live(func() error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(2 * time.Second): // The watch sends 8,000 packets meanwhile.
				return nil
			}
		})
		if err != nil {
			return nil, err
		}
		ns = append(ns, one)
	}
	return ns, w.clear(ctx)
}
