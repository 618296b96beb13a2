// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/requests"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// client of a Service: where its requests come from, and to which address they go.
type serviceClient struct {
	name string
	pod  string // empty: the outside host
	to   string
}

// webClients are clients of the web Service by each kind of way to it.
func webClients(t *testing.T, cluster string, ends testkit.Ends) []serviceClient {
	t.Helper()
	c := clientOf(t, cluster)
	var s corev1.Service
	if err := c.Get(within(t, time.Minute), client.ObjectKey{Namespace: testkit.LoadNamespace, Name: testkit.WebName}, &s); err != nil {
		t.Fatal(err)
	}
	node := nodeAddresses(t, cluster, ends.TwoA.Node)
	port := int(s.Spec.Ports[0].NodePort)
	at := func(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
	return []serviceClient{
		{"ClusterIP, IPv4", ends.OneA.Name, at(s.Spec.ClusterIPs[0], testkit.WebPort)},
		{"ClusterIP, IPv6", ends.TwoB.Name, at(s.Spec.ClusterIPs[1], testkit.WebPort)},
		{"NodePort from a pod, IPv4", ends.OneA.Name, at(node[0], port)},
		{"NodePort from outside, IPv4", "", at(node[0], port)},
		{"NodePort from outside, IPv6", "", at(node[1], port)},
	}
}

// nodeAddresses returns a node's InternalIPs, IPv4 first.
func nodeAddresses(t *testing.T, cluster, name string) []string {
	t.Helper()
	var n corev1.Node
	if err := clientOf(t, cluster).Get(within(t, time.Minute), client.ObjectKey{Name: name}, &n); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			out = append(out, a.Address)
		}
	}
	if len(out) != 2 {
		t.Fatalf("node %s has the addresses %v, want one of each family", name, out)
	}
	return out
}

// rolledOut waits until all replicas of the web Deployment are those of its present template.
func rolledOut(t *testing.T, cluster string) {
	t.Helper()
	eventually(t, 4*time.Minute, "the web servers are rolled out", func(ctx context.Context) error {
		var d appsv1.Deployment
		if err := clientOf(t, cluster).Get(ctx, client.ObjectKey{Namespace: testkit.LoadNamespace, Name: testkit.WebName}, &d); err != nil {
			return err
		}
		want := *d.Spec.Replicas
		if s := d.Status; s.ObservedGeneration != d.Generation || s.UpdatedReplicas != want || s.AvailableReplicas != want || s.Replicas != want {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

// TestBServersRestartedUnderRequests: no request to a Service fails while all servers behind
// it are replaced.
func TestBServersRestartedUnderRequests(t *testing.T) {
	const rate = 2000
	alpha := lab.Clusters()[0]
	ends := deployLoad(t, alpha)
	if err := lab.DeployWeb(within(t, time.Minute), alpha, 10); err != nil {
		t.Fatal(err)
	}
	rolledOut(t, alpha)
	clients := webClients(t, alpha, ends)
	for _, c := range clients {
		eventually(t, 20*time.Second, c.name+" answers", func(ctx context.Context) error { return answers(ctx, alpha, c.pod, c.to) })
	}

	before := webServers(t, alpha)
	loads := startRequests(t, alpha, clients, rate, "kept", "new")
	restartWeb(t, alpha)
	rolledOut(t, alpha)
	after := webServers(t, alpha)
	for name, r := range stopRequests(t, loads) {
		// Kept connections are few, so not all servers need have answered; but some of those
		// that are gone and some of those that replaced them have.
		if r.Failed > 0 || !answered(r, before) || !answered(r, after) {
			t.Errorf("%s: %d of %d failed (%v); of %v answered, want some of %v and, once they were replaced, of %v",
				name, r.Failed, r.Sent, r.Errors, r.Servers, before, after)
		}
	}
}

// webServers returns the names of the web servers' pods that are to stay.
func webServers(t *testing.T, cluster string) []string {
	t.Helper()
	var pods corev1.PodList
	err := clientOf(t, cluster).List(within(t, time.Minute), &pods, client.InNamespace(testkit.LoadNamespace), client.MatchingLabels{"app": testkit.WebName})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil {
			names = append(names, p.Name)
		}
	}
	return names
}

// answered says whether one of some servers answered a request.
func answered(r requests.Result, servers []string) bool {
	return slices.ContainsFunc(servers, func(name string) bool { return r.Servers[name] > 0 })
}

// startRequests has each client send requests by connections of each kind, at a rate of all
// of them together.
func startRequests(t *testing.T, cluster string, clients []serviceClient, rate int, kinds ...string) map[string]*testkit.Requests {
	t.Helper()
	loads := map[string]*testkit.Requests{}
	for _, c := range clients {
		for _, kind := range kinds {
			cfg := requests.Config{Server: c.to, Rate: rate / len(clients) / len(kinds), Fresh: kind == "new"}
			r, err := lab.StartRequests(t.Context(), cluster, c.pod, cfg)
			if err != nil {
				t.Fatal(err)
			}
			loads[c.name+", "+kind+" connections"] = r
		}
	}
	return loads
}

// stopRequests returns what came of the requests.
func stopRequests(t *testing.T, loads map[string]*testkit.Requests) map[string]requests.Result {
	t.Helper()
	results := map[string]requests.Result{}
	for name, l := range loads {
		r, err := l.Stop()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		t.Logf("%s: %d requests by %d connections to %d servers, %d late, the slowest took %v", name, r.Sent, r.Connections, len(r.Servers), r.Late, r.Slowest)
		results[name] = r
	}
	return results
}

// answers asks a server for a moment.
func answers(ctx context.Context, cluster, pod, to string) error {
	r, err := lab.StartRequests(ctx, cluster, pod, requests.Config{Server: to, Rate: 50, Fresh: true})
	if err != nil {
		return err
	}
	time.Sleep(200 * time.Millisecond)
	result, err := r.Stop()
	if err == nil && (result.Failed > 0 || result.Sent == 0) {
		err = fmt.Errorf("%+v", result)
	}
	return err
}

// restartWeb gives the web Deployment another template, as kubectl rollout restart does.
func restartWeb(t *testing.T, cluster string) {
	t.Helper()
	d := appsv1.Deployment{}
	d.Namespace, d.Name = testkit.LoadNamespace, testkit.WebName
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"restarted":%q}}}}}`, time.Now().String())
	if err := clientOf(t, cluster).Patch(within(t, time.Minute), &d, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
}
