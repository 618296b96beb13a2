// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	stdsync "sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	policyv1 "sigs.k8s.io/network-policy-api/apis/v1beta1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/enroll"
	"github.com/fairlead-io/fairlead/internal/enroll/enrolltest"
	"github.com/fairlead-io/fairlead/internal/state"
)

// policyAgent is an agent that follows policies and nothing else. It acknowledges all.
type policyAgent struct {
	t    *testing.T
	conn *grpc.ClientConn

	mu    stdsync.Mutex
	rows  map[string]*state.PolicyObject
	bytes int
}

func (c *cluster) policyAgent(node string, r *replica) *policyAgent {
	c.t.Helper()
	authority, err := enroll.NewAuthority(c.caDir, "alpha", slog.New(slog.DiscardHandler))
	if err != nil {
		c.t.Fatal(err)
	}
	a := &policyAgent{t: c.t, rows: map[string]*state.PolicyObject{}}
	a.conn, err = grpc.NewClient(fmt.Sprintf("passthrough:///%s:%d", r.host, c.port),
		grpc.WithTransportCredentials(credentials.NewTLS(enrolltest.ClientTLS(c.t, c.root, authority, node))))
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(a.conn).DeltaAggregatedResources(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	err = stream.Send(&discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: node}, TypeUrl: state.PolicyType, ResourceNamesSubscribe: []string{"*"}})
	if err != nil {
		c.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, err := stream.Recv()
			if err != nil {
				return
			}
			a.take(m)
			stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: m.TypeUrl, ResponseNonce: m.Nonce})
		}
	}()
	c.t.Cleanup(func() {
		cancel()
		<-done
		a.conn.Close()
	})
	eventually(c.t, "the agent knows the scope", func() bool { return a.object("cluster") != nil })
	return a
}

func (a *policyAgent) take(m *discovery.DeltaDiscoveryResponse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bytes += proto.Size(m)
	for _, r := range m.Resources {
		o := &state.PolicyObject{}
		if err := r.Resource.UnmarshalTo(o); err != nil {
			a.t.Error(err)
		}
		a.rows[r.Name] = o
	}
	for _, name := range m.RemovedResources {
		delete(a.rows, name)
	}
}

func (a *policyAgent) object(name string) *state.PolicyObject {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rows[name]
}

// peers are the addresses of the first rule for what a policy's pods may receive.
func (a *policyAgent) peers(policy string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.rows[policy].GetPolicy()
	if len(p.GetIngress().GetRules()) == 0 {
		return "no rule"
	}
	var out []string
	for _, o := range a.rows {
		if !slices.Contains(p.GetIngress().GetRules()[0].GetPeerSets(), o.GetPeers().GetSet()) {
			continue
		}
		for four := range slices.Chunk(o.GetPeers().GetIpv4(), 4) {
			addr, _ := netip.AddrFromSlice(four)
			out = append(out, addr.String())
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func labelled(namespace, name, node, app string) *corev1.Pod {
	p := pod(namespace, name, node)
	p.Labels = map[string]string{"app": app}
	return p
}

// run makes a pod that has an address.
func run(t *testing.T, p *corev1.Pod, address string) *corev1.Pod {
	t.Helper()
	create(t, p)
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}}}
	if err := admin.Status().Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return p
}

func relabel(t *testing.T, o client.Object, labels map[string]string) {
	t.Helper()
	before := o.DeepCopyObject().(client.Object)
	o.SetLabels(labels)
	if err := admin.Patch(t.Context(), o, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

func allowFrom(name string, subject, from map[string]string) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: subject},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: from}}}}},
		},
	}
}

// A policy, its pods and its peers come to the one node that needs them, follow every change,
// and people are told when it is in force.
func TestPoliciesReachTheNodesThatTheyConcern(t *testing.T) {
	c := newCluster(t)
	r := c.start("c1", "127.0.0.71")
	a, b := c.policyAgent("n1", r), c.policyAgent("n2", r)
	run(t, labelled("default", "web", "n1", "web"), "10.0.1.5")
	client1 := run(t, labelled("default", "client", "n2", "client"), "10.0.2.5")
	const policy = "policy/NetworkPolicy/default/web"
	np := allowFrom("web", map[string]string{"app": "web"}, map[string]string{"app": "client"})
	create(t, np)
	eventually(t, "n1 has the policy with its peer", func() bool { return a.peers(policy) == "10.0.2.5" })
	eventually(t, "n1 has the subject", func() bool {
		return slices.Equal(a.object("subject/default/web").GetSubject().GetPolicies(), []string{policy})
	})
	eventually(t, "n2 has the peer's subject", func() bool { return b.object("subject/default/client").GetSubject().GetPeer() })
	if b.object(policy) != nil {
		t.Error("n2 has a policy that selects none of its pods")
	}
	eventually(t, "the Event says that it is in force", func() bool { return event(t, "NetworkPolicy", "web", v1alpha1.ReasonInForce, "acknowledged by") })

	var took []time.Duration
	for i := range 20 {
		start := time.Now()
		label, want := "other", ""
		if i%2 == 1 {
			label, want = "client", "10.0.2.5"
		}
		relabel(t, client1, map[string]string{"app": label})
		eventually(t, "n1 follows the label", func() bool { return a.peers(policy) == want })
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	t.Logf("a label's change, from the request to the agent: p50 %v, most %v", took[len(took)/2], took[len(took)-1])
	if p50 := took[len(took)/2]; p50 > 100*time.Millisecond {
		t.Errorf("half of the labels' changes take more than %v", p50)
	}
	remove(t, np)
	eventually(t, "the policy is gone", func() bool {
		return a.object(policy) == nil && a.object("subject/default/web") == nil && a.peers(policy) == "no rule"
	})
}

func event(t *testing.T, kind, name, reason, words string) bool {
	t.Helper()
	var list corev1.EventList
	if err := admin.List(t.Context(), &list, client.InNamespace("default")); err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(list.Items, func(e corev1.Event) bool {
		return e.InvolvedObject.Kind == kind && e.InvolvedObject.Name == name && e.Reason == reason && strings.Contains(e.Message, words)
	})
}

func conditionOf(t *testing.T, name, kind string) metav1.Condition {
	t.Helper()
	var p policyv1.ClusterNetworkPolicy
	if err := admin.Get(t.Context(), client.ObjectKey{Name: name}, &p); err != nil {
		t.Fatal(err)
	}
	if c := meta.FindStatusCondition(p.Status.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// A ClusterNetworkPolicy selects by the labels of namespaces; what it cannot do yet it says,
// and that rule denies.
func TestClusterPoliciesSayWhatIsInForce(t *testing.T) {
	c := newCluster(t)
	r := c.start("c1", "127.0.0.72")
	a := c.policyAgent("n1", r)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "policed", Labels: map[string]string{"team": "a"}}}
	if err := admin.Create(t.Context(), ns); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
	run(t, labelled("policed", "web", "n1", "web"), "10.0.1.6")
	p := &policyv1.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "fence"}}
	p.Spec.Tier, p.Spec.Priority = policyv1.AdminTier, 10
	p.Spec.Subject.Namespaces = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}
	p.Spec.Egress = []policyv1.ClusterNetworkPolicyEgressRule{
		{Action: policyv1.ClusterNetworkPolicyRuleActionDeny, To: []policyv1.ClusterNetworkPolicyEgressPeer{{Networks: []policyv1.CIDR{"192.0.2.0/24"}}}},
	}
	create(t, p)
	const name = "policy/ClusterNetworkPolicy/fence"
	eventually(t, "n1 has it", func() bool { return len(a.object(name).GetPolicy().GetEgress().GetRules()) == 1 })
	eventually(t, "its status says that it is in force", func() bool {
		in := conditionOf(t, "fence", v1alpha1.ConditionInForce)
		return in.Status == metav1.ConditionTrue && in.ObservedGeneration == 1 && in.Message == "acknowledged by 1 nodes (c1 1)" &&
			conditionOf(t, "fence", v1alpha1.ConditionAccepted).Status == metav1.ConditionTrue
	}, func() string { return fmt.Sprint(conditionOf(t, "fence", v1alpha1.ConditionInForce)) })

	before := p.DeepCopy()
	p.Spec.Egress = append(p.Spec.Egress, policyv1.ClusterNetworkPolicyEgressRule{
		Action: policyv1.ClusterNetworkPolicyRuleActionAccept, To: []policyv1.ClusterNetworkPolicyEgressPeer{{DomainNames: []policyv1.DomainName{"example.org"}}},
	})
	if err := admin.Patch(t.Context(), p, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "domain names are refused", func() bool {
		c := conditionOf(t, "fence", v1alpha1.ConditionAccepted)
		return c.Status == metav1.ConditionFalse && c.ObservedGeneration == 2 && strings.Contains(c.Message, "spec.egress[1].to[0].domainNames: domain names are not supported yet") &&
			conditionOf(t, "fence", v1alpha1.ConditionInForce).ObservedGeneration == 2
	})
	if rules := a.object(name).GetPolicy().GetEgress().GetRules(); len(rules) != 1 {
		t.Errorf("the rule that cannot be used accepts something: %v", rules)
	}
	relabel(t, ns, map[string]string{"team": "b"})
	eventually(t, "the policy leaves with the label", func() bool { return a.object(name) == nil })
}

// A node says what address its pod has got: it is everybody's who names the pod before the
// API server knows, and the answer waits for them.
func TestAPodsAddressIsKnownBeforeTheAPIServerKnowsIt(t *testing.T) {
	c := newCluster(t)
	r := c.start("c1", "127.0.0.73")
	a, b := c.policyAgent("n1", r), c.policyAgent("n2", r)
	run(t, labelled("default", "server", "n1", "server"), "10.0.1.7")
	create(t, allowFrom("server", map[string]string{"app": "server"}, map[string]string{"app": "new"}))
	eventually(t, "n1 has the policy", func() bool { return a.peers("policy/NetworkPolicy/default/server") == "" })
	young := labelled("default", "young", "n2", "new")
	create(t, young)
	register := func(from *policyAgent, uid string) (*state.RegisterResponse, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return state.NewPodAddressesClient(from.conn).Register(ctx, &state.RegisterRequest{
			Namespace: "default", Name: "young", Uid: uid, Addresses: [][]byte{{10, 0, 2, 9}}, WaitMilliseconds: 5000,
		})
	}
	if _, err := register(a, string(young.UID)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("another node's pod: %v", err)
	}
	if _, err := register(b, "other"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a pod of that name that was there before: %v", err)
	}
	start := time.Now()
	answer, err := register(b, string(young.UID))
	if err != nil || answer.GetWaiting() != 0 {
		t.Fatalf("%v, %v", answer, err)
	}
	t.Logf("registered and in force after %v", time.Since(start))
	if got := a.peers("policy/NetworkPolicy/default/server"); got != "10.0.2.9" {
		t.Errorf("the answer came, and n1 has %q", got)
	}
	remove(t, young)
	eventually(t, "it goes with the pod", func() bool { return a.peers("policy/NetworkPolicy/default/server") == "" })
}

// A part of a NetworkPolicy that cannot be enforced is told in an Event, and a policy that
// changes is at the agent as soon as a label that does.
func TestNetworkPolicyFaultsAreEvents(t *testing.T) {
	c := newCluster(t)
	r := c.start("c1", "127.0.0.76")
	a := c.policyAgent("n1", r)
	run(t, labelled("default", "sender", "n1", "sender"), "10.0.1.9")
	np := allowFrom("sender", map[string]string{"app": "sender"}, map[string]string{"app": "x"})
	np.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{
		To:    []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "192.0.2.0/24"}}},
		Ports: []networkingv1.NetworkPolicyPort{{Port: new(intstr.FromString("http"))}},
	}}
	create(t, np)
	eventually(t, "the Event says what is wrong", func() bool {
		return event(t, "NetworkPolicy", "sender", v1alpha1.ReasonNotEnforced, "spec.egress[0].ports: ranges of addresses have no named ports")
	})
	var took []time.Duration
	for i := range 20 {
		before := np.DeepCopy()
		np.Spec.Egress[0].Ports[0].Port = new(intstr.FromInt32(int32(1000 + i)))
		start := time.Now()
		if err := admin.Patch(t.Context(), np, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the agent has it", func() bool {
			rules := a.object("policy/NetworkPolicy/default/sender").GetPolicy().GetEgress().GetRules()
			return len(rules) == 1 && rules[0].GetPorts()[0].GetFirst() == uint32(1000+i)
		})
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	t.Logf("a policy's change, from the request to the agent: p50 %v, most %v", took[len(took)/2], took[len(took)-1])
}

// Two replicas have one node each: the policy is in force when both say so.
func TestReplicasSayTogetherWhatIsInForce(t *testing.T) {
	c := newCluster(t)
	node(t, "n1", "192.168.77.1", "10.0.1.0/24")
	node(t, "n2", "192.168.77.2", "10.0.2.0/24")
	first, second := c.start("c1", "127.0.0.74"), c.start("c2", "127.0.0.75")
	c.policyAgent("n1", first)
	c.policyAgent("n2", second)
	report(t, "n1", "served by c1", func(s v1alpha1.NodeNetworkStatus) bool { return s.ServedBy == "c1" })
	report(t, "n2", "served by c2", func(s v1alpha1.NodeNetworkStatus) bool { return s.ServedBy == "c2" })
	run(t, labelled("default", "one", "n1", "pair"), "10.0.1.8")
	run(t, labelled("default", "two", "n2", "pair"), "10.0.2.8")
	p := &policyv1.ClusterNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "pair"}}
	p.Spec.Tier, p.Spec.Priority = policyv1.BaselineTier, 10
	p.Spec.Subject.Pods = &policyv1.NamespacedPod{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "pair"}}}
	p.Spec.Ingress = []policyv1.ClusterNetworkPolicyIngressRule{
		{Action: policyv1.ClusterNetworkPolicyRuleActionDeny, From: []policyv1.ClusterNetworkPolicyIngressPeer{{Namespaces: &metav1.LabelSelector{}}}},
	}
	create(t, p)
	eventually(t, "both have said so", func() bool {
		in := conditionOf(t, "pair", v1alpha1.ConditionInForce)
		return in.Status == metav1.ConditionTrue && in.Message == "acknowledged by 2 nodes (c1 1, c2 1)"
	}, func() string { return fmt.Sprint(conditionOf(t, "pair", v1alpha1.ConditionInForce)) })
}
