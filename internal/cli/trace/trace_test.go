// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/fairlead-io/fairlead/internal/agent/policy/view"
	"github.com/fairlead-io/fairlead/internal/cli/agents"
)

func TestParseTarget(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Target
		fault      string
	}{
		{"a pod", "web", Target{Namespace: "shop", Name: "web"}, ""},
		{"a pod and port", "web:80", Target{Namespace: "shop", Name: "web", Port: 80}, ""},
		{"a pod of a namespace", "db/pg-0:5432", Target{Namespace: "db", Name: "pg-0", Port: 5432}, ""},
		{"an IPv4 address", "10.1.0.5", Target{Address: netip.MustParseAddr("10.1.0.5")}, ""},
		{"an IPv4 address and port", "10.1.0.5:80", Target{Address: netip.MustParseAddr("10.1.0.5"), Port: 80}, ""},
		{"an IPv6 address", "fd00::5", Target{Address: netip.MustParseAddr("fd00::5")}, ""},
		{"an IPv6 address and port", "[fd00::5]:80", Target{Address: netip.MustParseAddr("fd00::5"), Port: 80}, ""},
		{"a port too high", "web:70000", Target{}, "want 1 to 65535"},
		{"two slashes", "a/b/c", Target{}, "neither a pod"},
		{"nothing", "", Target{}, "neither a pod"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseTarget(c.text, "shop")
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("the error is %v, want %q in it", err, c.fault)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func pod(namespace, name, node string, host bool, addresses ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.PodSpec{NodeName: node, HostNetwork: host}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	for _, a := range addresses {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a})
	}
	return p
}

func TestBothEndsAreAskedOnTheirNodes(t *testing.T) {
	client := fake.NewClientset(pod("shop", "web", "n1", false, "10.1.0.5", "fd00:1::5"), pod("shop", "db", "n2", false, "fd00:2::5"),
		pod("kube-system", "proxy", "n1", true, "192.0.2.1"), pod("shop", "new", "", false))
	find := func(text string) End {
		target, err := ParseTarget(text, "shop")
		if err != nil {
			t.Fatal(err)
		}
		e, err := Find(t.Context(), client, target)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, c := range []struct {
		name, from, to  string
		port            uint16
		egress, ingress string // what is asked of whom; empty: nothing
		fault           string
	}{
		{"two pods", "web", "db", 80, "n1 /trace?direction=egress&peer=fd00%3A2%3A%3A5&pod=shop%2Fweb&port=80&protocol=6", "n2 /trace?direction=ingress&peer=fd00%3A1%3A%3A5&pod=shop%2Fdb&port=80&protocol=6", ""},
		{"the outside", "web", "192.0.2.99", 443, "n1 /trace?direction=egress&peer=192.0.2.99&pod=shop%2Fweb&port=443&protocol=6", "", ""},
		{"a pod by its second address", "192.0.2.99", "10.1.0.5", 443, "", "n1 /trace?direction=ingress&peer=192.0.2.99&pod=shop%2Fweb&port=443&protocol=6", ""},
		{"from the host's network", "kube-system/proxy", "web", 80, "", "n1 /trace?direction=ingress&peer=192.0.2.1&pod=shop%2Fweb&port=80&protocol=6", ""},
		{"no port", "web", "db", 0, "", "", "has no port"},
		{"no family in common", "db", "192.0.2.99", 80, "", "", "no addresses of one family"},
		{"two addresses of nobody", "192.0.2.98", "192.0.2.99", 80, "", "", "neither end is a pod"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := Connection{From: find(c.from), To: find(c.to), Protocol: 6, Port: c.port}
			if err := conn.Check(); c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("the error is %v, want %q in it", err, c.fault)
				}
				return
			} else if err != nil {
				t.Fatal(err)
			}
			egress, ingress := conn.Questions()
			for _, one := range []struct {
				got  *Question
				want string
			}{{egress, c.egress}, {ingress, c.ingress}} {
				got := ""
				if one.got != nil {
					got = one.got.Node + " " + one.got.Path
				}
				if got != one.want {
					t.Errorf("asked\n%q, want\n%q", got, one.want)
				}
			}
		})
	}
	for name, fault := range map[string]string{"new": "has no address", "none": "not found"} {
		if _, err := Find(t.Context(), client, Target{Namespace: "shop", Name: name}); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("pod %s: %v, want %q in it", name, err, fault)
		}
	}
}

func side(t *testing.T, v view.Trace) *Side {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	s := SideOf([]agents.Answer{{Node: "n", Body: body}}, nil)
	return &s
}

func TestTheVerdictIsThatOfBothEndsAndOfTheKernel(t *testing.T) {
	asked := Connection{From: End{Pod: "shop/web", Node: "n1", Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.5")}},
		To: End{Pod: "shop/db", Node: "n2", Addresses: []netip.Addr{netip.MustParseAddr("10.2.0.5")}}, Protocol: 6, Port: 5432}
	open := view.Trace{Allow: true, Kernel: &view.Kernel{Allow: true}}
	closed := view.Trace{Policed: true, Why: "NetworkPolicy shop/db: no rule allows it", Kernel: &view.Kernel{Policed: true, Why: "NetworkPolicy shop/db: no rule allows it"},
		Policies: []view.Policy{
			{Kind: "ClusterNetworkPolicy", Name: "guard", Tier: "admin", Priority: 7, Rules: []view.Rule{{Name: "pass all", Action: "pass", Peer: true, PeerWhy: "any peer", Port: true, PortWhy: "any port", Decides: true}}},
			{Kind: "NetworkPolicy", Namespace: "shop", Name: "db", Tier: "namespace", Rules: []view.Rule{{Place: 2, Action: "accept", Peer: true, PeerWhy: "any peer", PortWhy: "only TCP 80"}}},
			{Kind: "ClusterNetworkPolicy", Name: "base", Tier: "baseline", Skipped: "a NetworkPolicy isolates the pod"},
		}}
	wrong := view.Trace{Allow: true, Policed: true, Why: "x", Kernel: &view.Kernel{Policed: true, Why: "y"}, Differs: true}
	silent := SideOf(nil, errors.New("its agent is pending"))
	for _, c := range []struct {
		name            string
		egress, ingress *Side
		want            Result
		say             []string
	}{
		{"both allow", side(t, open), side(t, open), Result{Allow: true}, []string{"TCP port 5432 from pod shop/web on node n1 to pod shop/db on node n2", "Verdict: ALLOWED"}},
		{"one denies", side(t, open), side(t, closed), Result{}, []string{
			"ClusterNetworkPolicy guard (admin tier, priority 7)", `rule 0 "pass all", pass: YES: any peer; any port`, "rule 2, accept: no: only TCP 80",
			"not asked: a NetworkPolicy isolates the pod", "denied by NetworkPolicy shop/db: no rule allows it", "Verdict: DENIED"}},
		{"it is never policed", side(t, open), side(t, view.Trace{Policed: true, Always: "a pod always reaches itself", Kernel: &view.Kernel{}}), Result{Allow: true},
			[]string{"allowed, whatever policies say: a pod always reaches itself", "Verdict: ALLOWED"}},
		{"the kernel differs", side(t, wrong), side(t, open), Result{Differs: true}, []string{"DIFFERS: the policies say allowed: true (x), the kernel's rows allowed: false (y)", "Verdict: DENIED", "WARNING"}},
		{"one is silent", &silent, side(t, open), Result{Allow: true, Unknown: true}, []string{"no answer: its agent is pending", "Verdict: unknown"}},
		{"nobody to ask", side(t, open), nil, Result{Allow: true}, []string{"it is no pod of this cluster", "Verdict: ALLOWED"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Of(asked, c.egress, c.ingress)
			if r.Allow != c.want.Allow || r.Unknown != c.want.Unknown || r.Differs != c.want.Differs {
				t.Errorf("%+v, want %+v", r, c.want)
			}
			var out bytes.Buffer
			if err := Print(&out, r); err != nil {
				t.Fatal(err)
			}
			for _, want := range c.say {
				if !strings.Contains(out.String(), want) {
					t.Errorf("it lacks %q:\n%s", want, out.String())
				}
			}
		})
	}
}
