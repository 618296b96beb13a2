// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/matrix"
)

// Pod is a probe on the pod network.
type Pod struct {
	Name, Node string
	Addresses  []netip.Addr // IPv4 first
}

// Pods returns a cluster's probes that are on the pod network.
func (l *Lab) Pods(ctx context.Context, cluster string) ([]Pod, error) {
	c, err := l.Client(cluster)
	if err != nil {
		return nil, err
	}
	var list corev1.PodList
	if err := c.List(ctx, &list, client.InNamespace(matrix.Namespace), client.MatchingLabels{"probe": "pod"}); err != nil {
		return nil, err
	}
	var out []Pod
	for _, p := range list.Items {
		pod := Pod{Name: p.Name, Node: p.Spec.NodeName}
		for _, ip := range p.Status.PodIPs {
			a, err := netip.ParseAddr(ip.IP)
			if err != nil {
				return nil, err
			}
			pod.Addresses = append(pod.Addresses, a)
		}
		out = append(out, pod)
	}
	return out, nil
}

// OnAnotherNode returns a pod that is not on the node of p.
func OnAnotherNode(pods []Pod, p Pod) Pod {
	for _, o := range pods {
		if o.Node != p.Node {
			return o
		}
	}
	return Pod{}
}

// PathMTU asserts that a packet of exactly the pod's MTU passes to an address on
// another node unfragmented, and that one byte more is refused by the pod itself.
func (l *Lab) PathMTU(ctx context.Context, cluster string, from Pod, to netip.Addr) error {
	plan, err := l.Plan().Cluster(cluster)
	if err != nil {
		return err
	}
	option := "-4"
	if to.Is6() {
		option = "-6"
	}
	script := fmt.Sprintf(`set -e
for ns in /run/netns/*; do nsenter --net=$ns ip -o addr | grep -qF ' %[1]s/' && break; done
mtu=$(nsenter --net=$ns ip %[2]s route show default | grep -oE 'mtu [0-9]+' | cut -d' ' -f2)
[ "$mtu" -ge 1280 ] || { echo "the pod's default route has no MTU"; exit 1; }
ping="nsenter --net=$ns ping %[2]s -c1 -W3 -M do"
$ping -s $((mtu-%[3]d)) %[4]s >/dev/null || { echo "a packet of $mtu bytes does not pass"; exit 1; }
if $ping -s $((mtu-%[3]d+1)) %[4]s >/dev/null 2>&1; then echo "a packet of $((mtu+1)) bytes passes"; exit 1; fi`,
		from.Addresses[family(to)], option, headers(to), to)
	for _, m := range plan.Nodes {
		if m.Name != from.Node {
			continue
		}
		out, err := l.Exec(ctx, m.Name, "sh", "-c", script)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	return fmt.Errorf("the lab has no node %q", from.Node)
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// headers is the size of an echo request without its data, in bytes.
func headers(a netip.Addr) int {
	if a.Is4() {
		return 20 + 8
	}
	return 40 + 8
}

// RemoveProbes deletes a cluster's probes and waits until they are gone.
func (l *Lab) RemoveProbes(ctx context.Context, cluster string) error {
	cfg, err := l.REST(cluster)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	return matrix.Remove(ctx, client)
}
