// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fairlead "github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/test/lab/plan"
	"github.com/fairlead-io/fairlead/test/requests"
	"github.com/fairlead-io/fairlead/test/testkit"
)

// unused returns addresses of a cluster's node networks that no machine has, one of each family.
func unused(c plan.Cluster) []string {
	var out []string
	for _, n := range c.NodeNetworks {
		b := n.Masked().Addr().AsSlice()
		b[len(b)-1] = 200
		a, _ := netip.AddrFromSlice(b)
		out = append(out, a.String())
	}
	return out
}

// announcer returns the node that answers for an address on the segment, as the router has
// learned it.
func announcer(ctx context.Context, c plan.Cluster, address string) (string, error) {
	out, err := exec.CommandContext(ctx, "ip", "-n", lab.Plan().Router, "neigh", "show", address).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	for _, n := range c.Nodes {
		if strings.Contains(string(out), n.MAC) {
			return n.Name, nil
		}
	}
	return "", fmt.Errorf("the router knows %s as %q, want the MAC address of a node", address, out)
}

// TestBAnAddressIsAnnounced: a Service gets addresses from a pool, the outside reaches it by
// them, and when the agent that announces one stands still another node does, and
// the first one again afterwards. No request fails: the node of an agent that stands still goes on
// with what comes to it.
func TestBAnAddressIsAnnounced(t *testing.T) {
	alpha := lab.Clusters()[0]
	c := clientOf(t, alpha)
	cluster, err := lab.Plan().Cluster(alpha)
	if err != nil {
		t.Fatal(err)
	}
	deployLoad(t, alpha)
	if err := lab.DeployWeb(within(t, time.Minute), alpha, 4); err != nil {
		t.Fatal(err)
	}
	rolledOut(t, alpha)

	addresses := unused(cluster)
	pool := &fairlead.AddressPool{ObjectMeta: metav1.ObjectMeta{Name: "edge"}}
	for _, a := range addresses {
		pool.Spec.Addresses = append(pool.Spec.Addresses, fairlead.AddressRange(a))
	}
	both := corev1.IPFamilyPolicyPreferDualStack
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: testkit.LoadNamespace, Name: "edge"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, IPFamilyPolicy: &both, Selector: map[string]string{"app": testkit.WebName},
			Ports: []corev1.ServicePort{{Port: testkit.WebPort}},
		},
	}
	for _, o := range []client.Object{pool, service} {
		if err := c.Create(within(t, time.Minute), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := client.IgnoreNotFound(c.Delete(ctx, o)); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, time.Minute, "the Service has the pool's addresses", func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(service), service); err != nil {
			return err
		}
		var got []string
		for _, in := range service.Status.LoadBalancer.Ingress {
			got = append(got, in.IP)
		}
		if strings.Join(got, " ") != strings.Join(addresses, " ") {
			return fmt.Errorf("it has %v, want %v", got, addresses)
		}
		return nil
	})

	loads := map[string]*testkit.Requests{}
	for _, a := range addresses {
		to := net.JoinHostPort(a, strconv.Itoa(testkit.WebPort))
		eventually(t, 20*time.Second, a+" is reached from outside", func(ctx context.Context) error { return answers(ctx, alpha, "", to) })
		r, err := lab.StartRequests(t.Context(), alpha, "", requests.Config{Server: to, Rate: 50, Fresh: true})
		if err != nil {
			t.Fatal(err)
		}
		loads[a] = r
	}
	first, err := announcer(t.Context(), cluster, addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	signal(t, first, "-STOP", "^/fairlead-agent --") // one that is killed is back before anybody misses it
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		lab.Exec(ctx, first, "pkill", "-CONT", "-f", "^/fairlead-agent --") //nolint:errcheck // it was sent before, if all went well
	})
	began := time.Now()
	eventually(t, 20*time.Second, "another node announces "+addresses[0], func(ctx context.Context) error {
		now, err := announcer(ctx, cluster, addresses[0])
		if err == nil && now == first {
			err = fmt.Errorf("%s still does", now)
		}
		return err
	})
	t.Logf("another node announces %s after %v", addresses[0], time.Since(began).Round(time.Millisecond))
	signal(t, first, "-CONT", "^/fairlead-agent --")
	eventually(t, 20*time.Second, first+" announces "+addresses[0]+" again", func(ctx context.Context) error {
		now, err := announcer(ctx, cluster, addresses[0])
		if err == nil && now != first {
			err = fmt.Errorf("%s does", now)
		}
		return err
	})
	for name, r := range stopRequests(t, loads) {
		if r.Failed > 0 || len(r.Servers) == 0 {
			t.Errorf("%s: %d of %d failed: %v", name, r.Failed, r.Sent, r.Errors)
		}
	}
	fleetReady(t)
}
