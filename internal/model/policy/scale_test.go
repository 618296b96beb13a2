// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// large is a cluster of some size: each namespace has 50 pods of 10 apps and 5 policies, one of
// which names all of a namespace's pods.
type large struct{ nodes, pods, policies int }

func (l large) pod(i int) Pod {
	return Pod{
		Namespace: fmt.Sprint("ns", i/50), Name: fmt.Sprint("pod-", i), UID: fmt.Sprint("uid-", i), Node: fmt.Sprint("node-", i%l.nodes),
		Labels:    map[string]string{"app": fmt.Sprint("app", i%10), "tier": "backend", "release": "stable"},
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})},
		Ports:     []NamedPort{{"http", 6, 8080}},
	}
}

func (l large) policy(i int) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprint("ns", i/5), Name: fmt.Sprint("policy-", i)}}
	p.Spec.PodSelector.MatchLabels = map[string]string{"app": fmt.Sprint("app", i%10)}
	peers := []networkingv1.NetworkPolicyPeer{
		{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprint("app", (i+1)%10)}}},
		{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": fmt.Sprint("t", i%20)}}, PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "app1"}}},
	}
	if i%5 == 0 {
		peers = append(peers, networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}})
	}
	p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: peers}}
	return p
}

func (l large) build() *Index {
	x := NewIndex()
	for i := range l.pods / 50 {
		x.SetNamespace(fmt.Sprint("ns", i), map[string]string{"team": fmt.Sprint("t", i%20)})
	}
	for i := range l.pods {
		x.SetPod(l.pod(i))
	}
	for i := range l.policies {
		x.SetNetworkPolicy(l.policy(i))
	}
	return x
}

// What a change costs does not depend on how large the cluster is.
func TestWorkFollowsTheChange(t *testing.T) {
	x := large{nodes: 100, pods: 5000, policies: 500}.build()
	l := large{nodes: 100, pods: 5000, policies: 500}
	if _, err := x.Take(); err != nil {
		t.Fatal(err)
	}
	take := func() Work {
		t.Helper()
		c, err := x.Take()
		if err != nil {
			t.Fatal(err)
		}
		return c.Work
	}
	within := func(what string, got, bound Work) {
		t.Helper()
		if got.Selectors > bound.Selectors || got.Blocks > bound.Blocks || got.Policies > bound.Policies || got.Subjects > bound.Subjects || got.Rows > bound.Rows {
			t.Errorf("%s takes %+v, more than %+v", what, got, bound)
		}
	}
	p := l.pod(7)
	x.SetPod(p)
	if got := take(); got != (Work{}) {
		t.Errorf("a pod that is the same takes %+v", got)
	}
	p.Labels = map[string]string{"app": "app3", "tier": "backend", "release": "stable"}
	x.SetPod(p)
	// Two local sets and the subject groups of the app; rows are blocks at the namespace's nodes.
	within("another label", take(), Work{Selectors: 6, Blocks: 4, Policies: 0, Subjects: 1, Rows: 120})
	p.Labels = map[string]string{"app": "app3", "tier": "backend", "release": "canary"}
	x.SetPod(p)
	within("a label that nobody asks for", take(), Work{Selectors: 6, Subjects: 1})
	p.Addresses = []netip.Addr{netip.MustParseAddr("10.9.9.9")}
	x.SetPod(p)
	within("another address", take(), Work{Selectors: 6, Blocks: 3, Subjects: 1, Rows: 120})
	q := l.policy(7)
	q.Spec.Ingress[0].From = q.Spec.Ingress[0].From[:1]
	x.SetNetworkPolicy(q)
	within("another policy", take(), Work{Policies: 1, Rows: 60})
}

// A pod's change is one block of a set, however large that is, and some hundred bytes.
func TestAPodsChangeIsOneBlock(t *testing.T) {
	x := NewIndex()
	l := large{nodes: 1000, pods: 10000}
	for i := range l.pods {
		p := l.pod(i)
		p.Namespace = "ns"
		x.SetPod(p)
	}
	all := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "all"}}
	all.Spec.PodSelector.MatchLabels = map[string]string{"only": "one"}
	all.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}}}
	x.SetNetworkPolicy(all)
	p := l.pod(0)
	p.Namespace, p.Labels = "ns", map[string]string{"only": "one"}
	x.SetPod(p)
	if _, err := x.Take(); err != nil {
		t.Fatal(err)
	}
	p = l.pod(5000)
	p.Namespace, p.Addresses = "ns", []netip.Addr{netip.MustParseAddr("10.200.0.1")}
	x.SetPod(p)
	c, err := x.Take()
	if err != nil {
		t.Fatal(err)
	}
	set := c.Scopes["node-0"].Set
	if len(c.Scopes) != 1 || len(set) != 1 || len(set[0].Body) > 600 {
		t.Errorf("%d nodes hear of it, node-0 of %v", len(c.Scopes), set)
	}
	t.Logf("%d bytes", len(set[0].Body))
}

// BenchmarkPod is a pod's label that changes, in a cluster of 1,000 nodes, 50,000 pods and
// 5,000 policies.
func BenchmarkPod(b *testing.B) {
	l := large{nodes: 1000, pods: 50000, policies: 5000}
	start := time.Now()
	x := l.build()
	if _, err := x.Take(); err != nil {
		b.Fatal(err)
	}
	built := time.Since(start)
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	i, rows := 0, 0
	for b.Loop() {
		p := l.pod(i * 7919 % l.pods)
		p.Labels["app"] = fmt.Sprint("app", i/l.pods%10+i%3)
		x.SetPod(p)
		c, err := x.Take()
		if err != nil {
			b.Fatal(err)
		}
		rows += c.Work.Rows
		i++
	}
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MiB")
	b.ReportMetric(float64(built.Milliseconds()), "ms-to-build")
	b.ReportMetric(float64(rows)/float64(i), "rows/op")
	runtime.KeepAlive(x)
}

// BenchmarkPolicy is a policy that changes in such a cluster.
func BenchmarkPolicy(b *testing.B) {
	l := large{nodes: 1000, pods: 50000, policies: 5000}
	x := l.build()
	if _, err := x.Take(); err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		p := l.policy(i % l.policies)
		if i/l.policies%2 == 0 {
			p.Spec.Ingress[0].From = p.Spec.Ingress[0].From[:1]
		}
		x.SetNetworkPolicy(p)
		if _, err := x.Take(); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
