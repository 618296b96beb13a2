// SPDX-License-Identifier: Apache-2.0

package clusterstack

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/gate"
	"github.com/fairlead-io/fairlead/internal/stack"
)

// Probes read what the probes of one cluster report.
type Probes interface {
	Read(ctx context.Context, namespace string, since time.Time) ([]gate.NodeReading, error)
}

// watched is what probes have shown.
type watched struct {
	// off says that packets are not watched.
	off bool
	// running says that probes of the wanted image run on every node; why and node say
	// where they do not.
	running   bool
	why, node string
	readings  []gate.NodeReading
}

// observeProbes sees to it that probes run, and reads them.
func (r *Reconciler) observeProbes(ctx context.Context, s *scope) (watched, error) {
	if err := r.applyProbes(ctx, s); err != nil {
		return watched{}, err
	}
	probes, err := r.probesOf(s)
	if err != nil {
		return watched{}, err
	}
	readings, err := probes.Read(ctx, Namespace, r.Now().Add(-window))
	if err != nil {
		return watched{}, fmt.Errorf("reading the cluster's probes: %w", err)
	}
	out := watched{running: true, readings: readings}
	image := r.image(s)
	ready := 0
	for _, n := range readings {
		switch {
		case n.Ready && n.Image == image:
			ready++
		case out.node == "":
			out.node = n.Node
			out.why = fmt.Sprintf("node %s: %s", n.Node, orElse(n.Why, "the probe is not ready"))
		}
	}
	if total := int(s.cs.Status.Nodes.Total); ready < total || out.node != "" {
		out.running = false
		out.why = strings.TrimSuffix(fmt.Sprintf("%d of %d nodes run them; %s", ready, total, out.why), "; ")
	}
	u := &s.cs.Status.Update
	if out.running && u.WatchedSince == nil {
		now := metav1.NewTime(r.Now())
		u.WatchedSince = &now
	}
	return out, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// image is what the cluster's agents, and its probes, shall run.
func (r *Reconciler) image(s *scope) string { return r.ImageRepository + ":" + s.cs.Spec.Version }

// probesOf returns the reader of a cluster's probes, one for as long as they run.
func (r *Reconciler) probesOf(s *scope) (Probes, error) {
	key := client.ObjectKeyFromObject(s.cs)
	if known, ok := r.probes.Load(key); ok {
		return known.(*running).Probes, nil
	}
	made, err := r.NewProbes(s.conn.Config)
	if err != nil {
		return nil, err
	}
	r.probes.Store(key, &running{Probes: made})
	return made, nil
}

// running are the probes of a cluster that this operator has started.
type running struct {
	Probes
	// applied identifies the objects that were applied last.
	applied string
}

// NewProbes reads probes for real.
func NewProbes(cfg *rest.Config) (Probes, error) { return gate.New(cfg) }

// applyProbes applies the probes' objects, once for each version and operator.
func (r *Reconciler) applyProbes(ctx context.Context, s *scope) error {
	if _, err := r.probesOf(s); err != nil {
		return err
	}
	known, _ := r.probes.Load(client.ObjectKeyFromObject(s.cs))
	at := known.(*running)
	host, port, err := stack.Endpoint(facts(s))
	if err != nil {
		return s.refuse(err)
	}
	o := gate.Options{Namespace: Namespace, Image: r.image(s), PullPolicy: corev1.PullIfNotPresent, APIServerHost: host, APIServerPort: port}
	digest := stack.Digest(o)
	if at.applied == digest {
		return nil
	}
	for _, obj := range gate.Objects(o) {
		if err := apply(ctx, s, obj); err != nil {
			return err
		}
	}
	at.applied = digest
	return nil
}

// removeProbes removes the probes from the cluster, those of an operator that ended as well.
func (r *Reconciler) removeProbes(ctx context.Context, s *scope) error {
	key := client.ObjectKeyFromObject(s.cs)
	phase := s.cs.Status.Update.Phase
	if _, known := r.probes.Load(key); !known && (s.cs.Spec.Gates.Probes == v1alpha1.ProbesDisabled || phase == "" || phase == v1alpha1.UpdateProven) {
		return nil
	}
	for _, obj := range gate.Objects(gate.Options{Namespace: Namespace}) {
		kind := obj.GetObjectKind().GroupVersionKind()
		named := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: obj.GetNamespace(), Name: obj.GetName()}}
		named.SetGroupVersionKind(kind)
		err := s.conn.Live.Delete(ctx, named, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("removing %s %s of the cluster: %w", kind.Kind, client.ObjectKeyFromObject(obj), err)
		}
	}
	r.probes.Delete(key)
	return nil
}
