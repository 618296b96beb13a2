// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/reach"
	"github.com/fairlead-io/fairlead/test/testkit"
)

const (
	namespace = "fairlead-bench-policy"
	// guest is the label of a peer that a policy lets in.
	guest = "guest"
	// interval is how often a packet is sent, and so what times are exact to.
	interval = 500 * time.Microsecond
	// silence is how long nothing passes until a path is called closed; it is no part of a figure.
	silence = 100 * time.Millisecond
	// patience bounds one change.
	patience = time.Minute
)

// world is a client on one node and a server on each of two.
type world struct {
	c        client.Client
	watch    *testkit.Watch
	near, to string // the path on the node, and that across
	out      func(format string, args ...any)
}

// newWorld makes the pods on a cluster's first two nodes and watches the paths between them.
func newWorld(ctx context.Context, lab *testkit.Lab, cluster string, out func(string, ...any)) (*world, error) {
	c, err := lab.Client(cluster)
	if err != nil {
		return nil, err
	}
	plan, err := lab.Plan().Cluster(cluster)
	if err != nil {
		return nil, err
	}
	if len(plan.Nodes) < 2 {
		return nil, fmt.Errorf("%s has %d nodes, and packets go between two: set LAB_NODES", cluster, len(plan.Nodes))
	}
	var pods []*corev1.Pod
	for name, node := range map[string]int{"client": 0, "near": 0, "far": 1} {
		p := testkit.PolicedPod(name, plan.Nodes[node].Name, map[string]string{"role": map[bool]string{true: "client", false: "server"}[name == "client"]})
		p.Namespace = namespace
		pods = append(pods, p)
	}
	made, err := lab.DeployPoliced(ctx, cluster, pods...)
	if err != nil {
		return nil, err
	}
	w := &world{c: c, near: "near", to: "far", out: out}
	var paths []reach.Path
	for i, name := range []string{w.near, w.to} {
		paths = append(paths, reach.Path{Name: name, Kind: reach.UDP, Stream: uint64(i + 1),
			Server: net.JoinHostPort(made[name].Addresses[0].String(), strconv.Itoa(testkit.MainPort))})
	}
	w.watch, err = lab.StartWatch(ctx, cluster, namespace, "client", reach.Config{Paths: paths, Interval: interval, Silence: silence})
	if err != nil {
		return nil, err
	}
	_, err = w.await(ctx, true)
	return w, err
}

// close removes what the world is made of.
func (w *world) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	_, err := w.watch.Stop()
	return errors.Join(err, testkit.RemoveNamespaces(ctx, w.c, namespace))
}

// await waits until packets pass on both paths, or do not, and returns when the later one came to it.
func (w *world) await(ctx context.Context, passes bool) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return w.watch.Await(ctx, passes, w.near, w.to)
}

// timed does something, after a random rest, and returns how long packets took to follow, in ms.
func (w *world) timed(ctx context.Context, passes bool, do func(context.Context) error) (float64, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(50*time.Millisecond + rand.N(150*time.Millisecond)):
	}
	began := time.Now()
	if err := do(ctx); err != nil {
		return 0, err
	}
	at, err := w.await(ctx, passes)
	return float64(at.Sub(began)) / float64(time.Millisecond), err
}

// policyFor is a policy of the servers that lets peers with a label in at a port.
func policyFor(name, value string, port int32) *networkingv1.NetworkPolicy {
	at, udp := intstr.FromInt32(port), corev1.ProtocolUDP
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"role": "server"}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{
				From:  []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{guest: value}}}},
				Ports: []networkingv1.NetworkPolicyPort{{Protocol: &udp, Port: &at}},
			}},
		},
	}
}

// crowd gives the servers many other policies, each with peers and a port of its own.
func (w *world) crowd(ctx context.Context, n int) error {
	var all errgroup.Group
	all.SetLimit(8)
	for i := range n {
		all.Go(func() error {
			return w.c.Create(ctx, policyFor(fmt.Sprintf("other-%d", i), fmt.Sprintf("group-%d", i), int32(10000+i)))
		})
	}
	return all.Wait()
}

// clear removes all policies and waits until packets pass.
func (w *world) clear(ctx context.Context) error {
	if err := w.c.DeleteAllOf(ctx, &networkingv1.NetworkPolicy{}, client.InNamespace(namespace)); err != nil {
		return err
	}
	_, err := w.await(ctx, true)
	return err
}

// label gives the client a label, or takes it away.
func (w *world) label(ctx context.Context, on bool) error {
	value := "null"
	if on {
		value = `"yes"`
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "client"}}
	return w.c.Patch(ctx, p, client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"labels":{%q:%s}}}`, guest, value)))
}
