// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/reach"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// otherNamespace is where pods run that no policy of these tests selects.
const otherNamespace = "fairlead-unpoliced"

// servesMe is the Service of server-two.
const servesMe = "two"

// policedPath is a way between two pods of policedWorld, and what a test may ask of it.
type policedPath struct {
	reach.Path
	client, server string
	family         int // 0 is IPv4
	port           int
	service        bool
}

// policedWorld are two clients and two servers, a pair on each node, and a watch from each client on
// every way to every server.
type policedWorld struct {
	t       *testing.T
	cluster string
	pods    map[string]testkit.Pod
	paths   []policedPath
	watches map[string]*testkit.Watch // by client
}

// newPolicedWorld makes the pods and watches them, until the test ends. All ways are open then.
func newPolicedWorld(t *testing.T, cluster string) *policedWorld {
	t.Helper()
	w := &policedWorld{t: t, cluster: cluster, watches: map[string]*testkit.Watch{}}
	c := clientOf(t, cluster)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := testkit.RemoveNamespaces(ctx, c, testkit.PolicedNamespace, otherNamespace); err != nil {
			t.Error(err)
		}
	})
	nodes := nodesOf(t, cluster)
	client, server := map[string]string{"role": "client"}, map[string]string{"role": "server"}
	pods, err := lab.DeployPoliced(within(t, time.Minute), cluster,
		testkit.PolicedPod("client-one", nodes[0], client), testkit.PolicedPod("client-two", nodes[1], client),
		testkit.PolicedPod("server-one", nodes[0], server), testkit.PolicedPod("server-two", nodes[1], server))
	if err != nil {
		t.Fatal(err)
	}
	w.pods = pods
	w.addPaths(w.service(c))
	for _, name := range []string{"client-one", "client-two"} {
		w.watches[name] = startWatch(t, cluster, testkit.PolicedNamespace, name, w.pathsOf(name))
	}
	w.settle(20*time.Second, func(policedPath) bool { return true })
	return w
}

// startWatch watches paths from a pod until the test ends.
func startWatch(t *testing.T, cluster, namespace, pod string, paths []reach.Path) *testkit.Watch {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	watch, err := lab.StartWatch(ctx, cluster, namespace, pod, reach.Config{Paths: paths, Interval: 5 * time.Millisecond, Silence: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := watch.Stop(); err != nil {
			t.Error(err)
		}
	})
	return watch
}

// service is one with an address of each family whose backend is server-two.
func (w *policedWorld) service(c client.Client) []string {
	w.t.Helper()
	both := corev1.IPFamilyPolicyRequireDualStack
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: testkit.PolicedNamespace, Name: servesMe},
		Spec: corev1.ServiceSpec{IPFamilyPolicy: &both, Selector: map[string]string{"pod": "server-two"}, Ports: []corev1.ServicePort{
			{Name: "udp", Protocol: corev1.ProtocolUDP, Port: 80, TargetPort: intstr.FromInt32(testkit.MainPort)},
			{Name: "tcp", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(testkit.MainPort)},
		}},
	}
	if err := c.Create(within(w.t, time.Minute), s); err != nil {
		w.t.Fatal(err)
	}
	return s.Spec.ClusterIPs
}

func (w *policedWorld) addPaths(service []string) {
	add := func(from, to, what, kind, host string, port, at int, family int, service bool) {
		name := fmt.Sprintf("%s to %s, %s, IPv%d", from, to, what, 4+2*family)
		w.paths = append(w.paths, policedPath{
			Path:   reach.Path{Name: name, Kind: kind, Server: net.JoinHostPort(host, strconv.Itoa(at)), Stream: uint64(len(w.paths) + 1)},
			client: from, server: to, family: family, port: port, service: service,
		})
	}
	for _, from := range []string{"client-one", "client-two"} {
		for family := range 2 {
			for _, to := range []string{"server-one", "server-two"} {
				host := w.pods[to].Addresses[family].String()
				add(from, to, "datagrams to the main port", reach.UDP, host, testkit.MainPort, testkit.MainPort, family, false)
				add(from, to, "datagrams to the side port", reach.UDP, host, testkit.SidePort, testkit.SidePort, family, false)
				add(from, to, "new connections to the main port", reach.New, host, testkit.MainPort, testkit.MainPort, family, false)
				add(from, to, "a connection to the main port", reach.Flow, host, testkit.MainPort, testkit.MainPort, family, false)
			}
			add(from, "server-two", "new connections by its Service", reach.New, service[family], testkit.MainPort, 80, family, true)
			add(from, "server-two", "datagrams by its Service", reach.UDP, service[family], testkit.MainPort, 80, family, true)
		}
	}
}

func (w *policedWorld) pathsOf(client string) (paths []reach.Path) {
	for _, p := range w.paths {
		if p.client == client {
			paths = append(paths, p.Path)
		}
	}
	return paths
}

// settle waits until packets pass on those paths that are to be open and on no other, and returns
// when the last of each came to it. Of a path that opens this is late: connections are tried once in
// a second at most, and the kernel sends what was lost on one again when it likes.
func (w *policedWorld) settle(patience time.Duration, open func(policedPath) bool) (opened, closed time.Time) {
	w.t.Helper()
	for name, watch := range w.watches {
		for _, passes := range []bool{true, false} {
			var names []string
			for _, p := range w.paths {
				if p.client == name && open(p) == passes {
					names = append(names, p.Name)
				}
			}
			at, err := watch.Await(within(w.t, patience), passes, names...)
			if err != nil {
				w.t.Fatalf("%v; open are %v", err, watch.Passing())
			}
			if passes && at.After(opened) {
				opened = at
			} else if !passes && at.After(closed) {
				closed = at
			}
		}
	}
	return opened, closed
}

// seen asks each server what has arrived at a port.
func (w *policedWorld) seen(port int) map[string]reach.Seen {
	w.t.Helper()
	by := map[string]reach.Seen{}
	for _, server := range []string{"server-one", "server-two"} {
		seen, err := lab.Seen(within(w.t, time.Minute), w.cluster, testkit.PolicedNamespace, server, port)
		if err != nil {
			w.t.Fatal(err)
		}
		by[server] = seen
	}
	return by
}

// leaked returns paths on which packets have arrived since, by the counts of a port before and now.
func (w *policedWorld) leaked(port int, before map[string]reach.Seen, closed func(policedPath) bool) map[string]uint64 {
	now, leaks := w.seen(port), map[string]uint64{}
	for _, p := range w.paths {
		if p.port != port || !closed(p) {
			continue
		}
		if n := now[p.server][p.Stream] - before[p.server][p.Stream]; n > 0 {
			leaks[p.Name] = n
		}
	}
	return leaks
}

// policy is a NetworkPolicy for the pods with a label, of both directions or what spec says.
func policy(name, key, value string, spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
	spec.PodSelector = metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: testkit.PolicedNamespace, Name: name}, Spec: spec}
}

// ingress is the spec of a policy with ingress rules; none let nobody in.
func ingress(rules ...networkingv1.NetworkPolicyIngressRule) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, Ingress: rules}
}

// egress is that of one with egress rules.
func egress(rules ...networkingv1.NetworkPolicyEgressRule) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}, Egress: rules}
}

// podsWith is a peer.
func podsWith(key, value string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}}
}

// blocks are peers: all addresses of both families but those of a pod.
func blocks(except testkit.Pod) []networkingv1.NetworkPolicyPeer {
	var out []networkingv1.NetworkPolicyPeer
	for i, all := range []string{"0.0.0.0/0", "::/0"} {
		a := except.Addresses[i]
		out = append(out, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{
			CIDR: all, Except: []string{netip.PrefixFrom(a, a.BitLen()).String()},
		}})
	}
	return out
}

// apply writes policies, and removes them when the test ends.
func (w *policedWorld) apply(policies ...*networkingv1.NetworkPolicy) {
	w.t.Helper()
	c := clientOf(w.t, w.cluster)
	for _, p := range policies {
		if err := c.Create(within(w.t, time.Minute), p.DeepCopy()); err != nil {
			w.t.Fatal(err)
		}
	}
}

// label sets a pod's label, or removes it when the value is empty.
func (w *policedWorld) label(pod, key, value string) {
	w.t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, key, value)
	if value == "" {
		patch = fmt.Sprintf(`{"metadata":{"labels":{%q:null}}}`, key)
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: testkit.PolicedNamespace, Name: pod}}
	if err := clientOf(w.t, w.cluster).Patch(within(w.t, time.Minute), p, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		w.t.Fatal(err)
	}
}

// withdraw removes every policy of the tests.
func (w *policedWorld) withdraw() {
	w.t.Helper()
	if err := clientOf(w.t, w.cluster).DeleteAllOf(within(w.t, time.Minute), &networkingv1.NetworkPolicy{}, client.InNamespace(testkit.PolicedNamespace)); err != nil {
		w.t.Fatal(err)
	}
}

// undisturbed asserts that the kubelet has found every pod ready and living all the time.
func (w *policedWorld) undisturbed() {
	w.t.Helper()
	var pods corev1.PodList
	if err := clientOf(w.t, w.cluster).List(within(w.t, time.Minute), &pods, client.InNamespace(testkit.PolicedNamespace)); err != nil {
		w.t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(w.pods)) {
		i := slices.IndexFunc(pods.Items, func(p corev1.Pod) bool { return p.Name == name })
		if i < 0 || !ready(&pods.Items[i]) || pods.Items[i].Status.ContainerStatuses[0].RestartCount > 0 {
			w.t.Errorf("pod %s is gone, not ready, or was restarted: the kubelet's probes do not pass", name)
		}
	}
}
