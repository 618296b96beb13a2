// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/agent/sync"
)

func TestNodesAndPodsReachTheirAgents(t *testing.T) {
	c := newCluster(t)
	one, two := c.start("ctl-1", "127.0.0.1"), c.start("ctl-2", "127.0.0.2")
	n1 := node(t, "n1", "192.168.1.1", "10.0.1.0/24", "fd00:1::/64")
	node(t, "n2", "192.168.1.2", "10.0.2.0/24", "fd00:2::/64")
	a1, a2 := c.agent("n1", nil, one, two), c.agent("n2", nil, one, two)

	nn := report(t, "n1", "ready", ready)
	if s := nn.Status; s.AgentVersion != "v0.1.0" || s.Wanted == "" || s.Wanted != s.Acknowledged ||
		!slices.Equal(s.PodCIDRs, []string{"10.0.1.0/24", "fd00:1::/64"}) || (s.ServedBy != "ctl-1" && s.ServedBy != "ctl-2") {
		t.Errorf("status %+v", s)
	}
	if o := nn.OwnerReferences; len(o) != 1 || o[0].Kind != "Node" || o[0].UID != n1.UID {
		t.Errorf("owner %+v", o)
	}
	report(t, "n2", "ready", ready)
	u := a1.state()
	if len(u.Peers) != 2 || u.LocalNode.GetAddresses()[0] != "192.168.1.1" || !slices.Equal(u.LocalNode.GetClusterPodCidrs(), []string{"10.0.0.0/8", "fd00::/16"}) {
		t.Errorf("n1 has %+v", u)
	}

	var times []time.Duration
	for i := range 20 {
		name := fmt.Sprintf("web-%d", i)
		p := pod("default", name, "n1")
		start := time.Now()
		create(t, p)
		eventually(t, "the agent knows the pod", func() bool { return a1.state().Endpoints["default/"+name] != nil })
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	t.Logf("pod created -> in force on its node: p50 %v, worst %v", times[len(times)/2], times[len(times)-1])
	if len(a2.state().Endpoints) != 0 {
		t.Errorf("n2 knows pods of n1: %v", a2.state().Endpoints)
	}

	p := pod("default", "web-0", "n1")
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
		t.Fatal(err)
	}
	p.Status.Phase, p.Status.PodIPs = corev1.PodRunning, []corev1.PodIP{{IP: "10.0.1.7"}, {IP: "fd00:1::7"}}
	p.Status.PodIP = "10.0.1.7"
	if err := admin.Status().Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent knows its addresses", func() bool {
		return slices.Equal(a1.state().Endpoints["default/web-0"].GetAddresses(), []string{"10.0.1.7", "fd00:1::7"})
	})
	p.Status.Phase = corev1.PodSucceeded
	if err := admin.Status().Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a finished pod is gone", func() bool { return a1.state().Endpoints["default/web-0"] == nil })
	report(t, "n1", "ready again", ready)
}

func TestEndpointSliceFollowsTheReplicas(t *testing.T) {
	c := newCluster(t)
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "fairlead-controller"}}
	t.Cleanup(func() { remove(t, slice) })
	remove(t, slice) // an earlier test's
	var got []string
	holds := func(want ...string) func() bool {
		return func() bool {
			if err := admin.Get(t.Context(), client.ObjectKeyFromObject(slice), slice); err != nil {
				return false
			}
			got = nil
			for _, e := range slice.Endpoints {
				got = append(got, e.Addresses...)
			}
			return slices.Equal(got, want) && *slice.Ports[0].Name == "xds" && *slice.Ports[0].Port == int32(c.port) &&
				slice.AddressType == discoveryv1.AddressTypeIPv4
		}
	}
	said := func() string { return fmt.Sprint(got) }
	one := c.start("ctl-1", "127.0.0.1")
	eventually(t, "one replica is in the slice", holds("192.0.0.1"), said)
	two := c.start("ctl-2", "127.0.0.2")
	eventually(t, "both are", holds("192.0.0.1", "192.0.0.2"), said)

	remove(t, slice)
	eventually(t, "it is made again", holds("192.0.0.1", "192.0.0.2"), said)
	slice.Endpoints = slice.Endpoints[:1]
	if err := admin.Update(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is put right", holds("192.0.0.1", "192.0.0.2"), said)

	one.stop()
	one.deletePod()
	eventually(t, "one is left", holds("192.0.0.2"), said)
	version := slice.ResourceVersion
	two.deletePod()
	// None is ready: the last addresses stay. A change of another object passes in the meantime.
	node(t, "n1", "192.168.1.1", "10.0.1.0/24")
	report(t, "n1", "made", func(s v1alpha1.NodeNetworkStatus) bool { return len(s.Conditions) > 0 })
	if !holds("192.0.0.2")() || slice.ResourceVersion != version {
		t.Errorf("the slice was changed to %v", got)
	}
}

func TestReportsSurviveReplicas(t *testing.T) {
	c := newCluster(t)
	one, two := c.start("ctl-1", "127.0.0.1"), c.start("ctl-2", "127.0.0.2")
	node(t, "n1", "192.168.1.1", "10.0.1.0/24")
	report(t, "n1", "never subscribed", func(s v1alpha1.NodeNetworkStatus) bool {
		return is(s, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonNeverSubscribed)
	})
	a := c.agent("n1", nil, one, two)
	nn := report(t, "n1", "ready", ready)
	first, second := one, two
	if nn.Status.ServedBy == two.name {
		first, second = two, one
	}
	since := meta.FindStatusCondition(nn.Status.Conditions, v1alpha1.ConditionReady).LastTransitionTime

	// A replica ends without a word: the agent goes to the other one, and nobody
	// reports a lost node in between (as the unchanged time of transition shows).
	first.deletePod()
	first.stop()
	nn = report(t, "n1", "ready, served by the other", func(s v1alpha1.NodeNetworkStatus) bool { return ready(s) && s.ServedBy == second.name })
	if now := meta.FindStatusCondition(nn.Status.Conditions, v1alpha1.ConditionReady).LastTransitionTime; !now.Equal(&since) {
		t.Errorf("Ready changed at %v, after %v: a node was reported as lost", now, since)
	}

	a.stop()
	report(t, "n1", "disconnected", func(s v1alpha1.NodeNetworkStatus) bool {
		return is(s, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDisconnected) &&
			is(s, v1alpha1.ConditionSynced, metav1.ConditionUnknown, v1alpha1.ReasonDisconnected)
	})

	// Both replicas and the agent are gone; a new replica finds a report that nobody answers for.
	b := c.agent("n1-again", nil) // never started: another node's
	b.stop()
	second.deletePod()
	second.stop()
	stale := nn.DeepCopy()
	if err := admin.Get(t.Context(), client.ObjectKey{Name: "n1"}, stale); err != nil {
		t.Fatal(err)
	}
	stale.Status = nn.Status // as if it had been killed before it could say a word
	if err := admin.Status().Update(t.Context(), stale); err != nil {
		t.Fatal(err)
	}
	c.start("ctl-3", "127.0.0.3")
	report(t, "n1", "of a controller that is gone", func(s v1alpha1.NodeNetworkStatus) bool {
		return is(s, v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonControllerGone) && s.ServedBy == second.name
	})
}

func TestBadNodesAreNamedAndOthersGoOn(t *testing.T) {
	c := newCluster(t)
	ctl := c.start("ctl-1", "127.0.0.1")
	node(t, "a-good", "192.168.1.1", "10.0.1.0/24")
	good := c.agent("a-good", nil, ctl)
	report(t, "a-good", "ready", ready)
	for _, b := range []struct {
		name, address string
		podCIDRs      []string
		words         string
	}{
		{"no-range", "192.168.1.2", nil, "Node no-range: spec.podCIDRs: the node has no range for its pods yet"},
		{"same-range", "192.168.1.3", []string{"10.0.1.0/24"}, "10.0.1.0/24 overlaps 10.0.1.0/24 of Node a-good"},
		{"on-the-node-network", "192.168.1.4", []string{"192.168.1.0/24"}, "contains the node address"},
	} {
		t.Run(b.name, func(t *testing.T) {
			node(t, b.name, b.address, b.podCIDRs...)
			nn := report(t, b.name, "not accepted", func(s v1alpha1.NodeNetworkStatus) bool {
				return is(s, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonNodeInvalid)
			})
			if m := meta.FindStatusCondition(nn.Status.Conditions, v1alpha1.ConditionAccepted).Message; !strings.Contains(m, b.words) {
				t.Errorf("message %q, want %q", m, b.words)
			}
			report(t, "a-good", "ready all the same", ready)
			if got := good.state().LocalNode.GetPodCidrs(); !slices.Equal(got, []string{"10.0.1.0/24"}) {
				t.Errorf("the good node has %v", got)
			}
		})
	}
}

func TestRefusalIsReportedInTheAgentsWords(t *testing.T) {
	c := newCluster(t)
	ctl := c.start("ctl-1", "127.0.0.1")
	node(t, "n1", "192.168.1.1", "10.0.1.0/24")
	node(t, "n2", "192.168.1.2", "10.0.2.0/24")
	node(t, "n3", "192.168.1.3", "10.0.3.0/24")
	a := c.agent("n1", func(u sync.Update) error {
		if u.Peers["n2"] != nil {
			return errors.New("PeerNode n2: podCIDRs[0]: the kernel's table is full; raise its size")
		}
		return nil
	}, ctl)
	nn := report(t, "n1", "refusing", func(s v1alpha1.NodeNetworkStatus) bool {
		return is(s, v1alpha1.ConditionSynced, metav1.ConditionFalse, v1alpha1.ReasonRefused) &&
			is(s, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRefused)
	})
	want := `The agent refused PeerNode "n2": PeerNode n2: podCIDRs[0]: the kernel's table is full; raise its size`
	if m := meta.FindStatusCondition(nn.Status.Conditions, v1alpha1.ConditionReady).Message; m != want {
		t.Errorf("message %q, want %q", m, want)
	}
	eventually(t, "the other peers are there", func() bool {
		u := a.state()
		return u.Peers["n1"] != nil && u.Peers["n3"] != nil && u.Peers["n2"] == nil
	})
}

func TestWhoMayEnroll(t *testing.T) {
	c := newCluster(t)
	ctl := c.start("ctl-1", "127.0.0.1")
	node(t, "n1", "192.168.1.1", "10.0.1.0/24")
	other := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "other"}}
	create(t, other)
	for _, e := range []struct {
		name, namespace, account, audience string
		bound                              bool
		words                              string
	}{
		{"another account", "default", "other", "fairlead-controller", true, `the token is of "system:serviceaccount:default:other"`},
		{"a token for the API server", namespace, "fairlead-agent", "", true, "the API server refuses the token"},
		{"a token of no pod", namespace, "fairlead-agent", "fairlead-controller", false, "bound to no node"},
	} {
		t.Run(e.name, func(t *testing.T) {
			a := c.agentWith("n1", tokenOf(t, e.namespace, e.account, e.audience, "n1", e.bound), nil, ctl)
			defer a.stop()
			eventually(t, e.words, func() bool { return strings.Contains(a.client.Status().LastError, e.words) },
				func() string { return a.client.Status().LastError })
			report(t, "n1", "not subscribed", func(s v1alpha1.NodeNetworkStatus) bool {
				return is(s, v1alpha1.ConditionConnected, metav1.ConditionFalse, v1alpha1.ReasonNeverSubscribed)
			})
		})
	}
}
