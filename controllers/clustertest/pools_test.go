// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

func pool(name string, ranges ...v1alpha1.AddressRange) *v1alpha1.AddressPool {
	return &v1alpha1.AddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.AddressPoolSpec{Addresses: append([]v1alpha1.AddressRange{}, ranges...)}}
}

func balanced(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Selector: map[string]string{"app": name},
			Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}
}

// hasAddress waits until a Service has an address, or with "" until it has none and is said why.
func hasAddress(t *testing.T, name, want string) {
	t.Helper()
	var s corev1.Service
	eventually(t, fmt.Sprintf("Service %s has address %q", name, want), func() bool {
		if err := admin.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, &s); err != nil {
			t.Fatal(err)
		}
		c := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionAddressAssigned)
		in := s.Status.LoadBalancer.Ingress
		if want == "" {
			return len(in) == 0 && c != nil && c.Status == metav1.ConditionFalse
		}
		return len(in) == 1 && in[0].IP == want && *in[0].IPMode == corev1.LoadBalancerIPModeVIP && c != nil && c.Status == metav1.ConditionTrue
	}, func() string { return fmt.Sprintf("%+v", s.Status) })
}

func poolIs(t *testing.T, name, kind string, status metav1.ConditionStatus, reason string) (p v1alpha1.AddressPool) {
	t.Helper()
	eventually(t, fmt.Sprintf("AddressPool %s: %s is %s for %s", name, kind, status, reason), func() bool {
		if err := admin.Get(t.Context(), client.ObjectKey{Name: name}, &p); err != nil {
			t.Fatal(err)
		}
		c := meta.FindStatusCondition(p.Status.Conditions, kind)
		return c != nil && c.Status == status && c.Reason == reason && p.Status.ObservedGeneration == p.Generation
	}, func() string { return fmt.Sprintf("%+v", p.Status) })
	return p
}

// announced waits until an agent knows who may announce an address; none: nobody.
func announced(t *testing.T, a *agent, address string, nodes ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s is announced by %v", address, nodes), func() bool {
		got := a.state().Announcements[address]
		if got == nil {
			return a.state().Known.Announcements && len(nodes) == 0
		}
		return slices.Equal(slices.Sorted(slices.Values(got.GetNodes())), nodes) && len(got.GetKey()) == 32
	}, func() string { return fmt.Sprint(a.state().Announcements) })
}

func TestAServiceHasAnAddress(t *testing.T) {
	c := newCluster(t)
	r := c.start("controller-pool", "127.0.9.1")
	node(t, "p1", "198.51.100.1", "10.7.1.0/24")
	node(t, "p2", "198.51.100.2", "10.7.2.0/24")
	a := c.agent("p1", nil, r)

	create(t, pool("one", "198.51.100.1", "198.51.100.10"))
	p := poolIs(t, "one", "Accepted", metav1.ConditionFalse, v1alpha1.ReasonPoolCollides)
	if p.Status.IPv4 != (v1alpha1.AddressCounts{Total: 1, Free: 1}) {
		t.Errorf("counts without the node's address: %+v", p.Status.IPv4)
	}
	create(t, balanced("first"))
	hasAddress(t, "first", "198.51.100.10")
	announced(t, a, "198.51.100.10", "p1", "p2")

	create(t, balanced("second"))
	hasAddress(t, "second", "")
	poolIs(t, "one", "Available", metav1.ConditionFalse, v1alpha1.ReasonPoolExhausted)
	remove(t, balanced("first"))
	hasAddress(t, "second", "198.51.100.10")
	poolIs(t, "one", "Available", metav1.ConditionTrue, v1alpha1.ReasonPoolAvailable)

	remove(t, pool("one"))
	hasAddress(t, "second", "")
	announced(t, a, "198.51.100.10")
}

func TestAServiceThatIsNoLoadBalancerAnyMore(t *testing.T) {
	newCluster(t).start("controller-type", "127.0.9.2")
	create(t, pool("types", "198.51.100.20-198.51.100.21"))
	s := balanced("typed")
	create(t, s)
	hasAddress(t, "typed", "198.51.100.20")
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
		t.Fatal(err)
	}
	s.Spec.Type = corev1.ServiceTypeClusterIP
	if err := admin.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is left in its status", func() bool {
		return admin.Get(t.Context(), client.ObjectKeyFromObject(s), s) == nil && len(s.Status.LoadBalancer.Ingress)+len(s.Status.Conditions) == 0
	})
}

// TestSomebodyElsesAddressIsLeftAlone has another implementation of load balancers beside ours.
func TestSomebodyElsesAddressIsLeftAlone(t *testing.T) {
	theirs := balanced("theirs")
	create(t, theirs)
	theirs.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.1"}}
	if err := admin.Status().Update(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	newCluster(t).start("controller-else", "127.0.9.3")
	create(t, pool("ours", "198.51.100.30"))
	create(t, balanced("ours"))
	hasAddress(t, "ours", "198.51.100.30")
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(theirs), theirs); err != nil {
		t.Fatal(err)
	}
	if in := theirs.Status.LoadBalancer.Ingress; len(in) != 1 || in[0].IP != "203.0.113.1" || len(theirs.Status.Conditions) > 0 {
		t.Errorf("their Service became %+v", theirs.Status)
	}
}

// TestTheNextReplicaGivesAddresses stops the one that does.
func TestTheNextReplicaGivesAddresses(t *testing.T) {
	c := newCluster(t)
	first := c.start("controller-one", "127.0.9.4")
	create(t, pool("two", "198.51.100.40-198.51.100.41"))
	create(t, balanced("kept"))
	hasAddress(t, "kept", "198.51.100.40")
	second := c.start("controller-two", "127.0.9.5") // serves although it does not lead
	node(t, "p3", "198.51.100.3", "10.7.3.0/24")
	a := c.agent("p3", nil, second)
	announced(t, a, "198.51.100.40", "p3")
	first.stop()
	create(t, balanced("later"))
	hasAddress(t, "later", "198.51.100.41")
	hasAddress(t, "kept", "198.51.100.40")
}

func TestOnlyNodesWithEndpointsAnnounceLocalServices(t *testing.T) {
	c := newCluster(t)
	r := c.start("controller-local", "127.0.9.6")
	node(t, "p4", "198.51.100.4", "10.7.4.0/24")
	node(t, "p5", "198.51.100.5", "10.7.5.0/24")
	a := c.agent("p4", nil, r)
	create(t, pool("local", "198.51.100.50"))
	s := balanced("local")
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	create(t, s)
	hasAddress(t, "local", "198.51.100.50")
	announced(t, a, "198.51.100.50")
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "local-1", Labels: map[string]string{discoveryv1.LabelServiceName: "local"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.7.4.9"}, NodeName: new("p4"), Conditions: discoveryv1.EndpointConditions{Ready: new(false)}},
			{Addresses: []string{"10.7.5.9"}, NodeName: new("p5"), Conditions: discoveryv1.EndpointConditions{Ready: new(true)}},
		},
	}
	create(t, slice)
	announced(t, a, "198.51.100.50", "p5")
	slice.Endpoints[0].Conditions.Ready = new(true)
	if err := admin.Update(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
	announced(t, a, "198.51.100.50", "p4", "p5")
}

func TestPoolsThatTheAPIServerRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		pool *v1alpha1.AddressPool
		says string
	}{
		"no addresses":         {pool("x"), "spec.addresses must have an entry: add a range"},
		"no address":           {pool("x", "here"), "correct this one or remove it"},
		"half a range":         {pool("x", "192.0.2.1-"), "correct this one or remove it"},
		"a mode that is none":  {withAnnounce(v1alpha1.AnnounceSpec{Mode: "BGP"}), "spec.announce.mode must be L2 or None"},
		"the same range twice": {pool("x", "192.0.2.1", "192.0.2.1"), "Duplicate value"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := admin.Create(context.Background(), c.pool); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
	create(t, pool("good", "192.0.2.0/30", "192.0.2.10-192.0.2.12", "2001:db8::/120", "2001:db8:1::1"))
}

func withAnnounce(a v1alpha1.AnnounceSpec) *v1alpha1.AddressPool {
	p := pool("x", "192.0.2.1")
	p.Spec.Announce = a
	return p
}
